import type { FastifyPluginCallback, FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'
import connectionLimits from '../connection-limits.ts'
import requestLifecycle from '../request-lifecycle.ts'

/**
 * Makes a standalone entry point of a plugin that uses the request lifecycle. The first one that an app registers also registers the lifecycle.
 *
 * This is done here because plugins do not import other plugins.
 *
 * @param name the module specifier of the entry point; Fastify names it in the error for a missing `fastify-prism/redis`
 */
export function withLifecycle<Options extends FastifyPluginOptions> (plugin: FastifyPluginCallback<Options>, name: string): FastifyPluginCallback<Options> {
  return fp<Options>(async (fastify, options) => {
    if (!fastify.hasDecorator('requestLifecycle')) {
      await fastify.register(connectionLimits)
      await fastify.register(requestLifecycle)
    }
    await fastify.register<FastifyPluginOptions>(plugin as FastifyPluginCallback, options)
  }, { name, fastify: '5.x', dependencies: ['fastify-prism/redis'] })
}
