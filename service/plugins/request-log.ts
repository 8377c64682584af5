import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

/**
 * One line for each request, when its reply has left or its client has gone: method, route pattern, status, duration and what the cache did.
 *
 * Patterns, never paths: a path, and more so its query, may hold what a log must not know.
 */
export default fp(async (fastify) => {
  fastify.addHook('onResponse', function tally (request, reply, done) {
    request.log.info(factsOf(request, reply), 'answered')
    done()
  })

  fastify.addHook('onRequestAbort', function tally (request, done) {
    request.log.info({ method: request.method, route: request.routeOptions.url ?? null }, 'left by its client')
    done()
  })
}, { name: 'fastify-prism/request-log', fastify: '5.x' })

function factsOf (request: FastifyRequest, reply: FastifyReply): object {
  const cache = cacheOutcome(reply)
  return {
    method: request.method,
    route: request.routeOptions.url ?? null,
    status: reply.statusCode,
    durationMs: Math.round(reply.elapsedTime * 1000) / 1000,
    ...(cache === undefined ? {} : { cache })
  }
}

/** What `Cache-Status` (RFC 9211) says, in the words of the house. */
function cacheOutcome (reply: FastifyReply): string | undefined {
  const status = reply.getHeader('cache-status')
  if (typeof status !== 'string') return undefined
  if (/;\s*ttl=-/.test(status)) return 'stale'
  if (/;\s*hit\b/.test(status)) return 'hit'
  return /;\s*fwd=bypass/.test(status) ? 'bypass' : 'miss'
}
