import rateLimit from '../rate-limit.ts'
import type { RateLimitOptions } from '../rate-limit.ts'
import { withLifecycle } from './with-lifecycle.ts'

export type { RouteDefaults } from '../request-lifecycle.ts'
export { isNetwork, resolveClientAddress } from '../../src/http/client-address.ts'
export type { ClientAddress, TrustedProxies } from '../../src/http/client-address.ts'
export { rateLimitStore } from '../rate-limit.ts'
export type { Checked, NamedQuota, PolicyStatus, RateLimitOptions, RouteRateLimit } from '../rate-limit.ts'
export type { Duration } from '../../src/shared/option-readers.ts'

/** Rate limits without the rest of the stack: `request.rateLimit`. Needs `fastify-prism/redis`. */
export default withLifecycle<RateLimitOptions>(rateLimit, 'fastify-prism/rate-limit')
