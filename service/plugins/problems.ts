import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { isValidField, problemFields, problemOf, problemType, writeProblem } from '../../plugins/standalone/problem.ts'
import { MethodError } from '../errors.ts'
import { Methods } from '../http/methods.ts'

/** Headers of the response that the error replaces. */
const staleFields = ['etag', 'last-modified', 'expires', 'age', 'content-encoding', 'content-language', 'content-disposition']

/**
 * Sends the problem document of an error. Errors with status 500 or higher are logged with their stack;
 * 503 is not logged: it is the result of an outage, which is logged once instead of with each request.
 */
export function sendProblem (error: unknown, reply: FastifyReply): FastifyReply {
  const problem = problemOf(error, reply.request.id)
  if (problem.status >= 500 && problem.status !== 503) reply.log.error({ err: error }, `${problem.code}: request failed`)

  for (const name of staleFields) reply.removeHeader(name)
  for (const [name, value] of Object.entries(reply.getHeaders())) if (!isValidField(name, value)) reply.removeHeader(name)
  return reply
    .code(problem.status)
    .headers({ 'cache-control': 'no-store', ...problemFields(error) })
    .type(problemType)
    .send(writeProblem(problem)) // a Buffer: Fastify adds a charset to strings, and this media type has none
}

/**
 * Sends every error as `application/problem+json` (RFC 9457), including 404 and 405.
 *
 * Not part of the package, because an app may have its own error handlers.
 */
export default fp(async (fastify) => {
  const methods = new Methods()

  fastify.setErrorHandler((error, _request, reply) => sendProblem(error, reply))
  // OPTIONS and 405 must not reveal routes that are hidden from the OpenAPI document.
  fastify.addHook('onRoute', ({ url, method, schema }) => { if ((schema as { hide?: boolean } | undefined)?.hide !== true) methods.add(url, [method].flat()) })
  fastify.setNotFoundHandler(({ method, raw }, reply) => {
    const allowed = methods.of(raw.url ?? '/')
    // The route handles this method and called callNotFound(): the response is 404, not 405.
    if (allowed.length === 0 || (method !== 'OPTIONS' && allowed.includes(method))) return sendProblem({ code: 'FST_ERR_NOT_FOUND' }, reply)
    reply.header('allow', allowed.join(', '))
    return method === 'OPTIONS' ? reply.code(204).send() : sendProblem(new MethodError(method), reply)
  })
}, { name: 'fastify-prism/problems', fastify: '5.x' })
