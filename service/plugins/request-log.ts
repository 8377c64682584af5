import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

/**
 * Access log: one line for each completed or aborted request, with method, route pattern, status, duration and cache outcome.
 *
 * Logs the route pattern, never the path: a path or query may contain secrets.
 */
export default fp(async (fastify) => {
  fastify.addHook('onResponse', function logRequest (request, reply, done) {
    request.log.info(factsOf(request, reply), 'request completed')
    done()
  })

  fastify.addHook('onRequestAbort', function logRequest (request, done) {
    request.log.info({ method: request.method, route: request.routeOptions.url ?? null }, 'client aborted request')
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

/** @returns the outcome that `Cache-Status` (RFC 9211) reports */
function cacheOutcome (reply: FastifyReply): string | undefined {
  const status = reply.getHeader('cache-status')
  if (typeof status !== 'string') return undefined
  if (/;\s*ttl=-/.test(status)) return 'stale'
  if (/;\s*hit\b/.test(status)) return 'hit'
  return /;\s*fwd=bypass/.test(status) ? 'bypass' : 'miss'
}
