import type { Forwarded } from '../../http/cache-status.ts'
import type { Entry } from '../storage/entry-codec.ts'
import { fieldOf } from '../storage/entry-codec.ts'
import type { InProcessFill } from '../single-flight/in-process-fill.ts'
import type { CacheRequest, RequestHeaders, CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'
import { headersOf } from './header-writes.ts'
import { InputTracker } from './input-tracker.ts'
import { copyOf, isAjv, validate } from './validated-inputs.ts'
import type { Input } from './validated-inputs.ts'
import { wallMs } from '../../shared/clock.ts'

/** Options of a handler run. */
interface HandlerRunOptions {
  readonly reason: Forwarded
  readonly detail?: string | undefined
  readonly stale?: Entry | undefined
  readonly fill?: InProcessFill<Entry> | undefined
  readonly sequence?: number | undefined
  readonly free?: (() => void) | undefined
}

/** Conditional headers, which the cache evaluates on the complete response. */
const conditions = ['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range']

/**
 * Prepares a handler run whose response may be stored. The handler sees the query of the cache key, no conditional headers of the client,
 * and the validators of a stale entry. Its reads are tracked if `trackInputs` is set.
 */
export function prepareRequest (request: CacheRequest, reply: CacheReply, state: CacheRequestState, policy: RoutePolicy, options: HandlerRunOptions, host: string): HandlerRun {
  const run: HandlerRun = { ...options, hidesConditions: true, startedAt: wallMs(), before: headersOf(reply) }
  const validators = validatorsFor(options.stale)
  const isAmbiguous = state.key !== undefined && state.key.url !== request.raw.url && !replaceQuery(request, state, policy)
  if (policy.trackInputs) trackInputs(run, request, reply, state, policy, host, validators)
  else run.restore = replaceHeaders(request, validators)
  if (isAmbiguous) run.tracker?.note('request.query')
  return run
}

/**
 * Gives the handler the query that is in the key: as the route's validation makes it of the parameters in the key.
 *
 * @returns whether the result is a function of the key
 */
function replaceQuery (request: CacheRequest, { inputs }: CacheRequestState, { query }: RoutePolicy): boolean {
  const validated = inputs && validate(request, 'query', sortedQuery(copyOf(inputs.query), query) as Input)
  if (validated?.isValid === true) {
    request.query = validated.value
    return true
  }
  // A required parameter is not listed. Ajv makes nothing of other parameters; another validator may.
  request.query = sortedQuery(request.query, query)
  return inputs === undefined || isAjv(request)
}

/** Tracks the inputs that the handler reads. */
function trackInputs (run: HandlerRun, request: CacheRequest, reply: CacheReply, { key }: CacheRequestState, policy: RoutePolicy, host: string, validators: Record<string, string>): void {
  const partition = typeof policy.partition === 'function' ? 'function' as const : policy.partition
  const covered = { fields: policy.vary, partition, host, url: key?.url ?? request.url, received: request.raw.url, validation: isValidationKeyed(request, policy) }
  const status = reply.statusCode
  const tracker = new InputTracker(request, reply, covered, run.before, validators)
  // A status set by a hook may depend on any input.
  if (status !== 200) tracker.note('reply.statusCode')
  // So may a serializer, or what it encloses. Fastify reads it.
  if (hasSerializer(reply)) tracker.noteProperty('serializer', 'reply.serializer')
  run.tracker = tracker
  const restore = () => tracker.close()
  run.restore = restore
}

/** Fastify's key of the serializer of a reply, by the class of the reply. */
const serializerKeys = new WeakMap<object, symbol>()

/** Whether a hook has called `reply.serializer`. */
function hasSerializer (reply: CacheReply): boolean {
  const { constructor } = reply
  let key = serializerKeys.get(constructor)
  if (key === undefined) {
    key = Object.getOwnPropertySymbols(reply).find(({ description }) => description === 'fastify.reply.serializer') ?? Symbol('none')
    serializerKeys.set(constructor, key)
  }
  return (reply as unknown as Record<symbol, unknown>)[key] != null
}

/** What a route attaches of its validation. `request.routeOptions` makes an object at each read. */
const attaching = new WeakMap<RoutePolicy, 'nothing' | 'errors' | 'header errors'>()

/** Whether `request.validationError` is a function of the key: the error of validated headers is not, nor one that a hook has set. */
function isValidationKeyed (request: CacheRequest, policy: RoutePolicy): boolean {
  const { validationError: error } = request as { validationError?: { readonly validationContext?: unknown } | null }
  let attached = attaching.get(policy)
  if (attached === undefined) {
    const { attachValidation, schema } = (request as { routeOptions?: { attachValidation?: boolean, schema?: { headers?: unknown } } }).routeOptions ?? {}
    attached = attachValidation !== true ? 'nothing' : schema?.headers === undefined ? 'errors' : 'header errors'
    attaching.set(policy, attached)
  }
  if (error == null) return attached !== 'header errors'
  return attached === 'errors' && error.validationContext !== undefined
}

const none = Object.freeze({})

/** Conditional headers made from the validators of a stale entry (RFC 9111 section 4.3.1). */
function validatorsFor (stale: Entry | undefined): Record<string, string> {
  if (stale === undefined) return none
  const entityTag = fieldOf(stale, 'etag')
  const modified = fieldOf(stale, 'last-modified')
  return { ...(entityTag === undefined ? {} : { 'if-none-match': entityTag }), ...(modified === undefined ? {} : { 'if-modified-since': modified }) }
}

function replaceHeaders (request: CacheRequest, validators: Record<string, string>): () => void {
  const { raw } = request
  const before = raw.headers
  const fields: Record<string, string | string[] | undefined> = { ...before }
  for (const name of conditions) delete fields[name]
  setHeaders(raw, Object.assign(fields, validators))
  return () => setHeaders(raw, before)
}

/** An HTTP/2 request has only a getter for its headers. */
function setHeaders (raw: CacheRequest['raw'], headers: RequestHeaders): void {
  Object.defineProperty(raw, 'headers', { value: headers, writable: true, enumerable: true, configurable: true })
}

/** The part of the query that is in the cache key: the parameters that the route lists, sorted. */
function sortedQuery (query: unknown, names: ReadonlySet<string> | undefined): unknown {
  if (typeof query !== 'object' || query === null) return query
  const listed = Object.entries(query).filter(([name]) => names?.has(name) ?? true).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)
  return Object.fromEntries(listed)
}
