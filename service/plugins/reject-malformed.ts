import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type {} from '../../plugins/request-lifecycle.ts'
import { refusalOf } from '../../src/http/request-validation.ts'

declare module '../../plugins/request-lifecycle.ts' {
  interface RouteDefaults {
    /** Not to be chosen: every request is looked at. */
    refusals?: never
  }
}

const refused = Symbol('prism.refusal')
/** Undefined until it was looked at: who was refused before that has not been. */
type Refused = FastifyRequest & { [refused]: Error | null | undefined }

/**
 * Turns away requests that no server should answer: see {@link refusalOf}.
 *
 * Register it after the stack: they are counted like others, and a flood of them ends in 429.
 */
export default fp(async (fastify) => {
  fastify.decorateRequest(refused, undefined)

  fastify.requestLifecycle.join<void>({
    name: 'refusals',
    resolve: () => {},
    enqueueReads (request) { lookAt(request as Refused) },
    useReplies (request) {
      const refusal = lookAt(request as Refused)
      if (refusal !== null) throw refusal
    },
    onSend (request, reply) {
      // What follows on it cannot be trusted, whoever answers.
      if (lookAt(request as Refused) !== null) reply.header('connection', 'close')
    }
  })
}, { name: 'fastify-prism/refusals', fastify: '5.x', dependencies: ['fastify-prism/request-lifecycle'] })

function lookAt (request: Refused): Error | null {
  if (request[refused] === undefined) request[refused] = refusalOf(request.raw) ?? null
  return request[refused]
}
