import { readChoice, readCount, readDuration, readRecord, readBoolean, readString, readStrings, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { BrowserPolicy } from './response/browser-cache-control.ts'
import type { Coding } from './storage/entry-codec.ts'

/** What may be said of a route's answers; a scope's choice holds for the routes inside it, and a route's own goes before it. */
export interface RouteCacheOptions<Request = never> {
  /** how long an answer is fresh: the route decides (5 to 60 minutes are usual), or the response does, as RFC 9111 section 4.2 computes it */
  ttl?: Duration | 'response'
  /** names that `fastify.cache.purge` drops answers by; those of scopes and route add up */
  tags?: readonly string[] | ((request: Request) => readonly string[] | null | undefined)
  /** request fields that split the key, by name */
  vary?: readonly string[]
  /** whose answer it is: kept for each user or session alone, or for whatever the function names; undefined runs the handler */
  partition?: 'user' | 'session' | ((request: Request) => string | number | null | undefined)
  /** query keys that the handler sees and the key holds; others are taken away. Default: those of the route's query schema, where it allows no others; else all */
  query?: readonly string[]
  /** exact hosts, `example.com:8080`, that the handler may tell apart: the host joins the key, and a request to another is not kept */
  hosts?: readonly string[]
  /** how long after it went stale an answer may be served while it is made anew; the response's own word goes first */
  staleWhileRevalidate?: Duration
  /** how long after it went stale an answer may stand in for a 5xx; the response's own word goes first */
  staleIfError?: Duration
  /** make an answer anew in the background before it goes stale, the likelier the less is left and the longer the handler takes; default false */
  earlyRefresh?: boolean
  /** so many runs of the handler at once in each process: beyond, what is stale is served, or 503; default: no bound, which a stranger could use up */
  maxConcurrency?: number
  /** whether the request's Cache-Control counts; default: only with `ttl: 'response'`, for strangers shall not skip a public API's cache */
  honorRequestCacheControl?: boolean
  /** false: the handler may read what the key does not hold, and its author vouches for it */
  trackInputs?: boolean
  /** with `ttl: 'response'`: Set-Cookie is kept like any field, as RFC 9111 section 7.3 lets a cache do; default false */
  keepCookies?: boolean
  /** how long a browser may keep the answer without asking again; default: it asks each time, so that a purge shows at once */
  browserMaxAge?: Duration
}

/** The stack's defaults, and what concerns all routes. */
export interface CacheOptions {
  /** default '5m' */
  ttl?: Duration
  /** stands in every key: answers of another build are never served */
  version?: string
  /** bodies above this many bytes are not kept; default 262144 */
  maxBytes?: number
  /** how bodies above 1 KiB are kept; default 'br' */
  compression?: 'br' | 'gzip' | false
  /** tell in `Cache-Status` why an answer was not kept, and what would allow it; for development, default false */
  debug?: boolean
}

/** How `fastify.cache.purge` purges. */
export interface PurgeOptions {
  /** answers become stale, and may stand in until they were made anew, where their routes allow it; default false: they are gone */
  soft?: boolean
}

/** {@link CacheOptions} after defaults and checks. */
export interface CachePolicy {
  readonly ttlMs: number
  readonly version: string
  readonly maxBytes: number
  readonly compression: Coding
  readonly debug: boolean
}

/** What one route chose, complete. */
export interface RoutePolicy<Request = never> {
  /** undefined: the response decides */
  readonly ttlMs: number | undefined
  readonly tags: readonly string[]
  readonly tagsOf: readonly ((request: Request) => readonly string[] | null | undefined)[]
  readonly vary: readonly string[]
  readonly partition: 'user' | 'session' | ((request: Request) => string | number | null | undefined) | undefined
  /** undefined: the whole query */
  readonly query: ReadonlySet<string> | undefined
  readonly hosts: ReadonlySet<string> | undefined
  readonly staleWhileSeconds: number
  readonly staleErrorSeconds: number
  readonly earlyRefresh: boolean
  readonly maxConcurrency: number | undefined
  readonly honorRequestCacheControl: boolean
  readonly trackInputs: boolean
  readonly keepCookies: boolean
  readonly browser: BrowserPolicy | undefined
  readonly maxBytes: number
  readonly compression: Coding
  readonly debug: boolean
  readonly version: string
  /** what the query's schema gives a key that did not come */
  readonly defaults: ReadonlyMap<string, unknown>
  /** by what Fastify tells the route from others of its pattern; '' for nothing */
  readonly constraints: string
}

/** What a route's declaration says besides. */
export interface Declared {
  readonly querySchema?: unknown
  /** whether only signed-in users come to its handler; asked once all that takes part in the route is known */
  readonly isForUsers?: () => boolean
  /** host, version and the like, by which Fastify chooses among routes of one pattern */
  readonly constraints?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Checks the stack's options.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveCachePolicy (options: CacheOptions = {}): CachePolicy {
  readRecord('cache', options, ['ttl', 'version', 'maxBytes', 'compression', 'debug'])
  return Object.freeze({
    ttlMs: readDuration('cache.ttl', options.ttl ?? '5m'),
    version: options.version === undefined ? '' : readString('cache.version', options.version),
    maxBytes: readCount('cache.maxBytes', options.maxBytes ?? 262_144),
    compression: options.compression === false ? 'identity' : readChoice('cache.compression', options.compression ?? 'br', ['br', 'gzip'] as const),
    debug: readBoolean('cache.debug', options.debug ?? false)
  })
}

/**
 * Merges what scopes and a route chose, outermost first.
 *
 * @returns undefined for a route that is not cached: nobody named `cache`, or the innermost said `false`
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveRoutePolicy<Request> (choices: readonly unknown[], stack: CachePolicy, declared: Declared = {}): RoutePolicy<Request> | undefined {
  const merged = merge<Request>(choices)
  if (merged === undefined) return undefined
  const { ttl, tags, vary, partition, query, browserMaxAge: browser, hosts, keepCookies = false } = merged
  const isByResponse = ttl === 'response'
  if (keepCookies && !isByResponse) invalidOption('cache.keepCookies', "left out, unless ttl is 'response'", keepCookies)
  return Object.freeze({
    ttlMs: isByResponse ? undefined : ttl === undefined ? stack.ttlMs : readDuration('cache.ttl', ttl),
    tags: tags.flatMap((each) => typeof each === 'function' ? [] : readTags(each)),
    tagsOf: tags.filter((each) => typeof each === 'function'),
    vary: vary === undefined ? [] : [...new Set(readStrings('cache.vary', vary).map(readFieldName))].sort(),
    partition: readPartition(partition),
    query: query === undefined ? listedBy(declared.querySchema) : new Set(readStrings('cache.query', query)),
    hosts: hosts === undefined ? undefined : new Set(readStrings('cache.hosts', hosts)),
    staleWhileSeconds: readSeconds('cache.staleWhileRevalidate', merged.staleWhileRevalidate) ?? 0,
    staleErrorSeconds: readSeconds('cache.staleIfError', merged.staleIfError) ?? 0,
    earlyRefresh: readBoolean('cache.earlyRefresh', merged.earlyRefresh ?? false),
    maxConcurrency: merged.maxConcurrency === undefined ? undefined : readCount('cache.maxConcurrency', merged.maxConcurrency),
    honorRequestCacheControl: readBoolean('cache.honorRequestCacheControl', merged.honorRequestCacheControl ?? isByResponse),
    trackInputs: readBoolean('cache.trackInputs', merged.trackInputs ?? !isByResponse),
    keepCookies: readBoolean('cache.keepCookies', keepCookies),
    browser: browserPolicy(readSeconds('cache.browserMaxAge', browser), partition !== undefined, declared),
    maxBytes: stack.maxBytes,
    compression: stack.compression,
    debug: stack.debug,
    version: stack.version,
    defaults: defaultsIn(declared.querySchema),
    constraints: spellConstraints(declared.constraints ?? {})
  })
}

type Merged<Request> = Omit<RouteCacheOptions<Request>, 'tags'> & { tags: NonNullable<RouteCacheOptions<Request>['tags']>[] }

const known = ['ttl', 'tags', 'vary', 'partition', 'query', 'hosts', 'staleWhileRevalidate', 'staleIfError', 'earlyRefresh', 'maxConcurrency', 'honorRequestCacheControl', 'trackInputs', 'keepCookies', 'browserMaxAge']

/** `false` forgets what stands outside it, `true` takes it as it is; tags add up, everything else is the innermost's. */
function merge<Request> (choices: readonly unknown[]): Merged<Request> | undefined {
  let merged: Merged<Request> | undefined
  for (const choice of choices) {
    if (typeof choice === 'boolean') {
      merged = readBoolean('cache', choice) ? merged ?? { tags: [] } : undefined
      continue
    }
    const { tags, ...rest } = readRecord('cache', choice, known) as RouteCacheOptions<Request>
    merged = { ...merged, ...rest, tags: [...merged?.tags ?? [], ...tags === undefined ? [] : [tags]] }
  }
  return merged
}

/**
 * Reads tags as a caller gives them.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readTags (tags: unknown): readonly string[] {
  const texts = readStrings('cache.tags', tags)
  const reserved = texts.find((text) => text.startsWith('='))
  return reserved === undefined ? texts : invalidOption('cache.tags', 'texts that do not begin with =', reserved)
}

/**
 * Reads what somebody wants purged: tags, and after them, perhaps, how.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readPurge (given: readonly unknown[]): { readonly tags: readonly string[], readonly isSoft: boolean } {
  const last = given.at(-1)
  if (typeof last !== 'object') return { tags: readTags(given), isSoft: false }
  const { soft = false } = readRecord('cache.purge', last, ['soft'])
  return { tags: readTags(given.slice(0, -1)), isSoft: readBoolean('cache.purge.soft', soft) }
}

function readSeconds (option: string, value: unknown): number | undefined {
  return value === undefined ? undefined : Math.max(1, Math.round(readDuration(option, value) / 1000))
}

function browserPolicy (seconds: number | undefined, hasPartition: boolean, { isForUsers }: Declared): BrowserPolicy | undefined {
  if (seconds === undefined) return undefined
  let isGuarded = hasPartition ? true : undefined
  const ask = () => {
    isGuarded ??= isForUsers?.() === true
    return isGuarded
  }
  return { seconds, get isGuarded () { return ask() } }
}

function readFieldName (name: string): string {
  return /^[!#$%&'*+\-.^_`|~\w]+$/.test(name) && name !== '*' ? name.toLowerCase() : invalidOption('cache.vary', 'names of request fields', name)
}

function readPartition<Partition> (partition: Partition): Partition {
  const isKnown = partition === undefined || partition === 'user' || partition === 'session' || typeof partition === 'function'
  return isKnown ? partition : invalidOption('cache.partition', "'user', 'session' or a function", partition)
}

/** Each in one form, in one order: all processes spell them alike. */
function spellConstraints (constraints: Readonly<Record<string, unknown>>): string {
  const sorted = Object.entries(constraints).sort(([a], [b]) => a < b ? -1 : 1)
  // What a strategy of the app's own compares may be no JSON: expressions and functions stand as they are written.
  const plain = (_name: string, value: unknown) => value instanceof RegExp || typeof value === 'function' ? String(value) : value
  return sorted.length === 0 ? '' : encodeURIComponent(JSON.stringify(sorted, plain))
}

function defaultsIn (schema: unknown): ReadonlyMap<string, unknown> {
  const { properties } = (schema ?? {}) as { properties?: Record<string, unknown> }
  const known = Object.entries(properties ?? {}).filter(([, property]) => typeof property === 'object' && property !== null && 'default' in property)
  return new Map(known.map(([name, property]) => [name, (property as { default: unknown }).default]))
}

/** A query schema lists the keys when it lets no others pass. */
function listedBy (schema: unknown): ReadonlySet<string> | undefined {
  if (typeof schema !== 'object' || schema === null) return undefined
  const { additionalProperties, properties, patternProperties } = schema as { additionalProperties?: unknown, properties?: object, patternProperties?: object }
  return additionalProperties === false && patternProperties === undefined ? new Set(Object.keys(properties ?? {})) : undefined
}
