import type { FastifyInstance } from 'fastify'
import prism, { errors, type RoutePolicies } from 'fastify-prism'
import cache, { type Cache } from 'fastify-prism/cache'
import { runCli, UsageError, type Command } from 'fastify-prism/cli'
import events from 'fastify-prism/events'
import live, { type LiveOptions } from 'fastify-prism/live'
import metrics, { AdminAuth, cacheOutcomeOf, quantile, type MetricsSnapshot } from 'fastify-prism/metrics'
import { problemFields, problemOf, problemType, writeProblem, type Problem } from 'fastify-prism/problem'
import rateLimit, { isNetwork, resolveClientAddress } from 'fastify-prism/rate-limit'
import redis, { addressFault, pemOf, readRedisTls, type UnreachableReason } from 'fastify-prism/redis'
import session, { isExactOrigin } from 'fastify-prism/session'
import { advance, publishedEvents, purgeAll, signInAs, type TestSignIn } from 'fastify-prism/testing'

export const parts = { prism, cache, events, live, metrics, rateLimit, redis, session }
export const functions = { runCli, UsageError, AdminAuth, cacheOutcomeOf, quantile, problemFields, problemOf, writeProblem, isNetwork, resolveClientAddress, addressFault, pemOf, readRedisTls, isExactOrigin, advance, publishedEvents, purgeAll, signInAs }
export const command: Command = { usage: 'hello', summary: 'greets', help: [], run: async ({ output }) => { output.tell({}, ['hello']); return 0 } }
export const options: LiveOptions = { origins: ['https://example.com'] }
export const policies = (app: FastifyInstance, config: unknown): RoutePolicies['cache'] => app.requestLifecycle.describe(config).cache
export const inspect: (cache: Cache) => Cache['inspect'] = (cache) => cache.inspect
export const reason = (app: FastifyInstance): UnreachableReason | undefined => app.redisPool.reason
export const last = (app: FastifyInstance): MetricsSnapshot | undefined => app.metrics.history.last
export const asUser: TestSignIn = { protocol: 'https' }
export const problem: Problem = problemOf(new errors.OriginError(), problemType)
// @ts-expect-error a document has a code
export const without: Problem = { type: 'about:blank' }
console.log(JSON.stringify({
  plugins: Object.values(parts).filter((each) => typeof each === 'function').length,
  functions: Object.values(functions).filter((each) => typeof each === 'function').length,
  code: problem.code
}))
