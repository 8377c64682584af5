import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type {} from './journey.ts'
import { refusalOf } from '../src/http/refusal.ts'

declare module './journey.ts' {
  interface RouteDefaults {
    /** Not to be chosen: every request is looked at. */
    refusals?: never
  }
}

const refused = Symbol('prism.refusal')
type Refused = FastifyRequest & { [refused]: Error | null }

/**
 * Turns away requests that no server should answer: see {@link refusalOf}.
 *
 * Register it after the stack: they are counted like others, and a flood of them ends in 429.
 */
export default fp(async (fastify) => {
  fastify.decorateRequest(refused, null)

  fastify.journey.join<void>({
    name: 'refusals',
    resolve: () => {},
    ask (request, reply) {
      const refusal = refusalOf(request.raw)
      if (refusal === undefined) return
      (request as Refused)[refused] = refusal
      reply.header('connection', 'close') // what follows on it cannot be trusted, whoever answers
    },
    answer (request) {
      const refusal = (request as Refused)[refused]
      if (refusal !== null) throw refusal
    }
  })
}, { name: 'refusals', fastify: '5.x', dependencies: ['journey'] })
