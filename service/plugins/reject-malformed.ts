import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type {} from '../../plugins/index.ts'
import { refusalOf } from '../http/request-validation.ts'

const validation = Symbol('prism.refusal')
/** Undefined until the request is validated: a request rejected by an earlier plugin has not been. */
type ValidatedRequest = FastifyRequest & { [validation]: Error | null | undefined }

/**
 * Rejects malformed requests: see {@link refusalOf}.
 *
 * Register it after the stack: rate limits then count malformed requests, and a flood of them receives 429.
 */
export default fp(async (fastify) => {
  fastify.decorateRequest(validation, undefined)

  fastify.requestLifecycle.join<void>({
    name: 'refusals',
    resolve: () => {},
    enqueueReads (request) { validate(request as ValidatedRequest) },
    useReplies (request) {
      const refusal = validate(request as ValidatedRequest)
      if (refusal !== null) throw refusal
    },
    onSend (request, reply) {
      // The data that follows on this connection cannot be trusted.
      if (validate(request as ValidatedRequest) !== null) reply.header('connection', 'close')
    }
  })
}, { name: 'fastify-prism/refusals', fastify: '5.x', dependencies: ['fastify-prism/request-lifecycle'] })

function validate (request: ValidatedRequest): Error | null {
  if (request[validation] === undefined) request[validation] = refusalOf(request.raw) ?? null
  return request[validation]
}
