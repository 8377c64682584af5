import type { CacheControl } from '../http/cache-control.ts'
import type { Forwarded } from '../http/cache-status.ts'
import type { Entry } from './storage/entry-codec.ts'
import type { Lookup } from './lookup/lookup.ts'
import type { CacheReply } from './http-message.ts'
import type { CacheRequestState } from './request-state.ts'

/** Calls the route's original handler. */
export type Run = () => unknown

/** One request that has reached the route's handler. */
export interface HandlerContext<Request> {
  readonly request: Request
  readonly reply: CacheReply
  readonly state: CacheRequestState
  readonly run: Run
}

/** Result of a lookup that found nothing that may be served. */
export interface Miss {
  readonly lookup: Lookup<Entry>
  readonly reason: Forwarded
  readonly wanted: CacheControl | undefined
  /** stale entry: may be revalidated, or served instead of an error */
  readonly stale?: Entry | undefined
}

/**
 * Replaces undefined by the reply. A handler's promise that resolves with undefined makes Fastify send an empty body; with the reply, Fastify waits for `reply.send`.
 */
export function orReply (reply: CacheReply, result: unknown): unknown {
  return result === undefined ? reply : result
}
