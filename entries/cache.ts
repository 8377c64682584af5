import cache from '../plugins/cache.ts'
import type { CacheOptions } from '../plugins/cache.ts'
import { withJourney } from './with-journey.ts'

export type { RouteDefaults } from '../plugins/journey.ts'
export type { Cache, CacheChoice, CacheOptions, CacheRequest, WrapOptions } from '../plugins/cache.ts'
export type { Duration } from '../src/options.ts'

/** The response cache alone, without the rest of the stack: `fastify.cache`, `reply.tag`. Needs `fastify-prism/redis`. */
export default withJourney<CacheOptions>(cache, 'fastify-prism/cache')
