/** Problem documents (RFC 9457) for the errors of the package, of Fastify and of Node, for an app's own error handler. */
export { isValidField, problemFields, problemOf, problemType, writeProblem } from '../../src/http/problem.ts'
export type { InputFault, Problem } from '../../src/http/problem.ts'
