import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { MethodError } from '../../src/shared/errors.ts'
import { Methods } from '../../src/http/methods.ts'
import { isValidField, problemFields, problemOf, problemType, writeProblem } from '../../src/http/problem.ts'

export { problemOf } from '../../src/http/problem.ts'

/** Fields that describe the answer that did not come about. */
const staleFields = ['etag', 'last-modified', 'expires', 'age', 'content-encoding', 'content-language', 'content-disposition']

/**
 * Answers with an error's problem document. The stack of an error from 500 on goes to the log, and nowhere else;
 * not that of a 503, which tells of an outage: the log has that once, and not once a request.
 */
export function sendProblem (error: unknown, reply: FastifyReply): FastifyReply {
  const problem = problemOf(error, reply.request.id)
  if (problem.status >= 500 && problem.status !== 503) reply.log.error({ err: error }, `${problem.code}: a request failed`)

  for (const name of staleFields) reply.removeHeader(name)
  for (const [name, value] of Object.entries(reply.getHeaders())) if (!isValidField(name, value)) reply.removeHeader(name)
  return reply
    .code(problem.status)
    .headers({ 'cache-control': 'no-store', ...problemFields(error) })
    .type(problemType)
    .send(writeProblem(problem)) // to a text Fastify adds a charset, which this media type does not have
}

/**
 * Every error leaves as `application/problem+json` (RFC 9457), a path or a method that nobody answers too.
 *
 * The stack does not bring this along, because its host may have handlers of its own.
 */
export default fp(async (fastify) => {
  const methods = new Methods()

  fastify.setErrorHandler((error, _request, reply) => sendProblem(error, reply))
  // What is in no document shall not be found by asking which methods it has.
  fastify.addHook('onRoute', ({ url, method, schema }) => { if ((schema as { hide?: boolean } | undefined)?.hide !== true) methods.add(url, [method].flat()) })
  fastify.setNotFoundHandler(({ method, raw }, reply) => {
    const allowed = methods.of(raw.url ?? '/')
    // A route that answers this method, and is asked all the same, has said that there is nothing.
    if (allowed.length === 0 || (method !== 'OPTIONS' && allowed.includes(method))) return sendProblem({ code: 'FST_ERR_NOT_FOUND' }, reply)
    reply.header('allow', allowed.join(', '))
    return method === 'OPTIONS' ? reply.code(204).send() : sendProblem(new MethodError(method), reply)
  })
}, { name: 'fastify-prism/problems', fastify: '5.x' })
