import cache from '../cache.ts'
import type { CacheOptions } from '../cache.ts'
import { withLifecycle } from './with-lifecycle.ts'

export type { RouteDefaults } from '../request-lifecycle.ts'
export type * from '../../src/cache/cache-tags.ts'
export type { Cache, CacheChoice, CacheOptions, CacheRequest, PurgeOptions, WrapOptions } from '../cache.ts'
export type { Duration } from '../../src/shared/option-readers.ts'

/** The response cache without the rest of the stack: `fastify.cache`, `reply.tag`. Needs `fastify-prism/redis`. */
export default withLifecycle<CacheOptions>(cache, 'fastify-prism/cache')
