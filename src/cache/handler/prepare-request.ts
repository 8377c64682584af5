import type { Forwarded } from '../../http/cache-status.ts'
import type { Entry } from '../storage/entry-codec.ts'
import { fieldOf } from '../storage/entry-codec.ts'
import type { InProcessFill } from '../single-flight/in-process-fill.ts'
import type { CacheRequest, RequestHeaders, CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'
import { InputTracker } from './input-tracker.ts'

/** Why and with what a run begins. */
export interface HandlerRunOptions {
  readonly reason: Forwarded
  readonly detail?: string | undefined
  readonly stale?: Entry | undefined
  readonly fill?: InProcessFill<Entry> | undefined
  readonly sequence?: number | undefined
  readonly free?: (() => void) | undefined
}

/** What the cache evaluates itself once it has the whole answer. */
const conditions = ['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range']

/**
 * Prepares a run of the handler whose answer may be kept: it sees the URL that the key holds, no conditions of this client,
 * and the validators of a stored answer; and what it reads is noted.
 */
export function prepareRequest (request: CacheRequest, reply: CacheReply, state: CacheRequestState, policy: RoutePolicy, beginning: HandlerRunOptions, isHostKeyed: boolean): HandlerRun {
  const run: HandlerRun = { ...beginning, askedAt: Date.now(), before: reply.getHeaders() }
  const validators = validatorsFor(beginning.stale)
  if (state.key !== undefined && state.key.url !== request.raw.url) request.query = inOrder(request.query, policy.query)
  if (policy.trackInputs) watch(run, request, reply, state, policy, isHostKeyed, validators)
  else run.restore = replaceHeaders(request, validators)
  return run
}

/** Notes what the handler reads. */
function watch (run: HandlerRun, request: CacheRequest, reply: CacheReply, { key }: CacheRequestState, policy: RoutePolicy, isHostKeyed: boolean, validators: Record<string, string>): void {
  const partition = typeof policy.partition === 'function' ? 'function' as const : policy.partition
  const covered = { fields: policy.vary, partition, host: isHostKeyed, url: key?.url ?? request.url }
  const status = reply.statusCode
  const tracker = new InputTracker(request, reply, covered, run.before, validators)
  // A status that a hook has set is not of the handler's making.
  if (status !== 200) tracker.note('reply.statusCode')
  run.tracker = tracker
  run.restore = () => tracker.close()
}

const none = Object.freeze({})

/** What a stored answer offers for validation (RFC 9111 section 4.3.1). */
function validatorsFor (stale: Entry | undefined): Record<string, string> {
  if (stale === undefined) return none
  const entityTag = fieldOf(stale, 'etag')
  const modified = fieldOf(stale, 'last-modified')
  return { ...(entityTag === undefined ? {} : { 'if-none-match': entityTag }), ...(modified === undefined ? {} : { 'if-modified-since': modified }) }
}

function replaceHeaders (request: CacheRequest, validators: Record<string, string>): () => void {
  const raw = request.raw as { headers: RequestHeaders }
  const fields = raw.headers
  raw.headers = { ...Object.fromEntries(Object.entries(fields).filter(([name]) => !conditions.includes(name))), ...validators }
  return () => { raw.headers = fields }
}

/** What the key holds of a query: the keys that the route lists, in one order. */
function inOrder (query: unknown, names: ReadonlySet<string> | undefined): unknown {
  if (typeof query !== 'object' || query === null) return query
  const kept = Object.entries(query).filter(([name]) => names?.has(name) ?? true).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)
  return Object.fromEntries(kept)
}
