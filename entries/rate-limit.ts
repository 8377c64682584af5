import rateLimit from '../plugins/rate-limit.ts'
import type { RateLimitOptions } from '../plugins/rate-limit.ts'
import { withJourney } from './with-journey.ts'

export type { RouteDefaults } from '../plugins/journey.ts'
export { rateLimitStore } from '../plugins/rate-limit.ts'
export type { Checked, NamedQuota, PolicyStatus, RateLimitOptions, RouteRateLimit } from '../plugins/rate-limit.ts'
export type { Duration } from '../src/options.ts'

/** The rate limits alone, without the rest of the stack: `request.rateLimit`. Needs `fastify-prism/redis`. */
export default withJourney<RateLimitOptions>(rateLimit, 'fastify-prism/rate-limit')
