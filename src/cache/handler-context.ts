import type { CacheControl } from '../http/cache-control.ts'
import type { CacheStatus, Forwarded } from '../http/cache-status.ts'
import type { Entry } from './storage/entry-codec.ts'
import type { Lookup } from './lookup/lookup.ts'
import type { CacheReply } from './http-message.ts'
import type { CacheRequestState } from './request-state.ts'

/** Runs the route's own handler. */
export type Run = () => unknown

/** One request at its handler. */
export interface HandlerContext<Request> {
  readonly request: Request
  readonly reply: CacheReply
  readonly state: CacheRequestState
  readonly run: Run
}

/** Why nothing can be served. */
export interface Miss {
  readonly lookup: Lookup<Entry>
  readonly reason: Forwarded
  readonly wanted: CacheControl | undefined
  /** what may be confirmed, or stand in */
  readonly stale?: Entry | undefined
}

/** What a route does with a turn, once it is known what answers it. */
export interface Front<Request> {
  /** answers with an entry */
  serve (context: HandlerContext<Request>, entry: Entry, status: CacheStatus): unknown
  /** runs the handler for this request alone */
  forward (context: HandlerContext<Request>, reason: Forwarded, detail: string): unknown
  /** looks into the store once more */
  look (context: HandlerContext<Request>): Lookup<Entry>
  /** whether the host is part of the key */
  isHostKeyed (request: Request): boolean
}

/**
 * What a promise must give Fastify in the place of nothing: the reply, which it waits for. To nothing it would answer with nothing.
 */
export function orReply (reply: CacheReply, result: unknown): unknown {
  return result === undefined ? reply : result
}
