import type { FastifyPluginCallback, FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'
import connectionLimits from '../connection-limits.ts'
import journey from '../request-lifecycle.ts'

/**
 * Makes an entry of a plugin that takes part in the journey: the first of them that an app registers brings the journey along.
 *
 * Plugins import no other plugin, so this is said here and not in them.
 *
 * @param name as apps import it: it stands in the error that tells of a missing `fastify-prism/redis`
 */
export function withJourney<Options extends FastifyPluginOptions> (plugin: FastifyPluginCallback<Options>, name: string): FastifyPluginCallback<Options> {
  return fp<Options>(async (fastify, options) => {
    if (!fastify.hasDecorator('requestLifecycle')) {
      await fastify.register(connectionLimits)
      await fastify.register(journey)
    }
    await fastify.register<FastifyPluginOptions>(plugin as FastifyPluginCallback, options)
  }, { name, fastify: '5.x', dependencies: ['fastify-prism/redis'] })
}
