import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { PendingReply } from '../src/redis/batch/pending-reply.ts'

/** Result of a lifecycle step; `'stop'`: the request is rejected or its reply was sent, and no later step runs. */
export type StepResult = void | 'stop'

/**
 * What one plugin of the stack does in each request. `Policy` is the resolved form of a route's options; it is resolved once, in onRoute.
 */
export interface LifecycleParticipant<Policy> {
  /** key of its options in a route's `config` and in `routeDefaults`: `rateLimit`, `session`, `cache`, or the name of an app's own plugin */
  name: string
  /**
   * Merges the options of the enclosing scopes and of the route, outermost first, over the plugin's defaults.
   *
   * @param route undefined for requests without a route (404), and for routes declared before the stack
   * @throws {OptionError} PRISM_ERR_OPTION, when the route is declared
   */
  resolve (choices: readonly unknown[], route?: RouteOptions, scope?: FastifyInstance): Policy
  /** The policy as plain data, for documentation of a route; see `RequestLifecycle.describe`. */
  describe? (policy: Policy): unknown
  /** The policy of internal requests, which have no client; by default the route's policy. */
  policyForInternal? (): Policy
  /** Runs before all hooks of the app, where some are registered in front of the stack. Synchronous. */
  beforeHooks? (request: FastifyRequest, policy: Policy): void
  /** Runs first in onRequest. Queues the plugin's Redis reads; must be synchronous so that all reads of one event-loop tick share one write. Returns `'stop'` if the request will be rejected, so that later plugins queue nothing. */
  enqueueReads? (request: FastifyRequest, reply: FastifyReply, policy: Policy): StepResult
  /** Runs second in onRequest. Uses the replies. If a reply is missing, returns its `PendingReply`; the method is called again once it has arrived. To reject the request it throws, or sends a response and returns `'stop'`. */
  useReplies? (request: FastifyRequest, reply: FastifyReply, policy: Policy): StepResult | PendingReply<unknown> | Promise<StepResult>
  /** Runs third in onRequest, after `useReplies` of all plugins: for decisions that depend on another plugin, such as the session. Same contract as `useReplies`. */
  useRepliesLate? (request: FastifyRequest, reply: FastifyReply, policy: Policy): StepResult | PendingReply<unknown> | Promise<StepResult>
  /** Runs in onSend before `onSend` of any plugin: the response is as the handler, the serializer and earlier hooks made it. Synchronous. */
  beforeSend? (request: FastifyRequest, reply: FastifyReply, policy: Policy, payload: unknown): void
  /** Runs in onSend, once for each response. Returns a new payload, null for no payload, or undefined for no change. */
  onSend? (request: FastifyRequest, reply: FastifyReply, payload: unknown, policy: Policy): unknown
  /** Runs in onResponse: the response was sent. */
  onResponse? (request: FastifyRequest, reply: FastifyReply, policy: Policy): void
}
