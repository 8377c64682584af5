import { readChoice, readCount, readDuration, readRecord, readBoolean, readString, readStrings, invalidOption, rejectOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { CacheTag } from './cache-tags.ts'
import type { BrowserPolicy } from './response/browser-cache-control.ts'
import type { Coding } from './storage/entry-codec.ts'

/** The `cache` option of a route or scope. A scope's options apply to its routes; a route's own options override them. */
export interface RouteCacheOptions<Request = never> {
  /** Freshness lifetime: a duration such as `'30s'`, `'5m'`, `'1h'`, or `'response'`: computed from the response headers (RFC 9111 section 4.2). Default: the plugin's `ttl`. */
  ttl?: Duration | 'response'
  /** Tags for `fastify.cache.purge`: a list, or a synchronous function of the request. Tags of scopes and route are combined. Default: none. */
  tags?: readonly CacheTag[] | ((request: Request) => readonly CacheTag[] | null | undefined)
  /** Names of request headers that are part of the cache key: `['accept-language']`. Default: none. */
  vary?: readonly string[]
  /** Stores one response per user, per session or per value of the function, which is synchronous; where it returns undefined, null or `''`, the request bypasses the cache. Default: one response for all clients. */
  partition?: 'user' | 'session' | ((request: Request) => string | number | null | undefined)
  /** Names of query parameters that are part of the cache key; others are removed before the handler runs. Default: those of the route's query schema if it sets `additionalProperties: false`, else all. */
  query?: readonly string[]
  /** Exact hosts: `['example.com:8080']`. The host of a listed one is part of the cache key, and the handler may read it. Default: none. */
  hosts?: readonly string[]
  /** How long a stale response may be served while it is revalidated (RFC 5861 section 3); a `stale-while-revalidate` directive in the response takes precedence. Default: not at all. */
  staleWhileRevalidate?: Duration
  /** How long a stale response may be served instead of a 5xx (RFC 5861 section 4); a `stale-if-error` directive in the response takes precedence. Default: not at all. */
  staleIfError?: Duration
  /** Refreshes in the background before the response becomes stale, with a probability that rises as the TTL ends and with the handler's duration; without effect with a `partition`. Default: false. */
  earlyRefresh?: boolean
  /** Maximum of concurrent handler runs per process; above it a stale response is served, or 503. Default: unlimited. */
  maxConcurrency?: number
  /** How long a request waits for another request's handler run, in any process, before it runs the handler itself; at most `'30s'`. Default: the plugin's `lockTimeout`. */
  lockTimeout?: Duration
  /** Whether the request's Cache-Control is honored. Default: only with `ttl: 'response'`, so that clients cannot bypass the cache. */
  honorRequestCacheControl?: boolean
  /** Detects reads of inputs outside the cache key, and does not store such responses. Default: true, except with `ttl: 'response'`. */
  trackInputs?: boolean
  /** `max-age` sent to browsers. Default: browsers revalidate each time, so that a purge takes effect immediately. */
  browserMaxAge?: Duration
}

/** Options that contradict each other in one place: the compiler rejects them. */
export type ConsistentCacheOptions = { partition?: undefined, earlyRefresh?: boolean } | { partition?: unknown, earlyRefresh?: false }

/** Options of the plugin: defaults for all routes. */
export interface CacheOptions {
  /** Freshness lifetime of routes without a `ttl`: `'30s'`, `'5m'`, `'1h'`. Default: `'5m'`. */
  ttl?: Duration
  /** Part of every cache key: responses stored by another version are never served. Default: none. */
  version?: string
  /** How long a request, or a call of `wrap`, waits for another one's run, in any process, before it runs itself; at most `'30s'`. Default: `'5s'`. */
  lockTimeout?: Duration
  /** Largest body that is stored, in bytes. Default: 262144. */
  maxBytes?: number
  /** Compression of stored bodies of 1 KiB and more. Default: `'br'`. */
  compression?: 'br' | 'gzip' | false
  /** Reports in `Cache-Status` why a response was not stored and which option would allow it; for development. Default: false. */
  debug?: boolean
}

/** Options of `fastify.cache.purge`. */
export interface PurgeOptions {
  /** Entries become stale and may be served under `staleWhileRevalidate` and `staleIfError`. Default: false, they are removed. */
  soft?: boolean
}

/** Resolved {@link CacheOptions}. */
export interface CachePolicy {
  readonly ttlMs: number
  readonly lockTimeoutMs: number
  readonly version: string
  readonly maxBytes: number
  readonly compression: Coding
  readonly debug: boolean
}

/** Resolved {@link RouteCacheOptions} of one route. */
export interface RoutePolicy<Request = never> {
  /** undefined: computed from the response */
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
  readonly lockTimeoutMs: number
  readonly honorRequestCacheControl: boolean
  readonly trackInputs: boolean
  readonly browser: BrowserPolicy | undefined
  readonly maxBytes: number
  readonly compression: Coding
  readonly debug: boolean
  readonly version: string
  /** names of the route's Fastify constraints */
  readonly constraintNames: readonly string[]
  /** the route's Fastify constraints, serialized; '' for none */
  readonly constraints: string
  /** request headers by which a response of the route may say that it varies: `vary`, and `accept-version` of a versioned route */
  readonly coveredVary: readonly string[]
}

/** Properties of a route's declaration that affect its policy. */
interface Declared {
  readonly querySchema?: unknown
  /** whether the route rejects requests that are not signed in; called lazily, because the session plugin may be resolved later */
  readonly isForUsers?: () => boolean
  /** Fastify route constraints, such as host and version */
  readonly constraints?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Validates the plugin's options and applies defaults.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveCachePolicy (options: CacheOptions = {}): CachePolicy {
  readRecord('cache', options, ['ttl', 'version', 'lockTimeout', 'maxBytes', 'compression', 'debug'])
  return Object.freeze({
    ttlMs: readDuration('cache.ttl', options.ttl ?? '5m'),
    lockTimeoutMs: readLockTimeout(options.lockTimeout ?? '5s'),
    version: options.version === undefined ? '' : readString('cache.version', options.version),
    maxBytes: readCount('cache.maxBytes', options.maxBytes ?? 262_144),
    compression: options.compression === false ? 'identity' : readChoice('cache.compression', options.compression ?? 'br', ['br', 'gzip'] as const),
    debug: readBoolean('cache.debug', options.debug ?? false)
  })
}

/**
 * Merges the options of scopes and route, outermost first.
 *
 * @returns undefined if the route is not cached: no `cache` option, or the innermost one is `false`
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveRoutePolicy<Request> (choices: readonly unknown[], defaults: CachePolicy, declared: Declared = {}): RoutePolicy<Request> | undefined {
  const merged = merge<Request>(choices)
  if (merged === undefined) return undefined
  const { ttl, tags, vary, partition, query, browserMaxAge, hosts } = merged
  const isByResponse = ttl === 'response'
  const varied = vary === undefined ? [] : [...new Set(readStrings('cache.vary', vary).map(readHeaderName))].sort()
  return Object.freeze({
    ttlMs: isByResponse ? undefined : ttl === undefined ? defaults.ttlMs : readDuration('cache.ttl', ttl),
    tags: tags.flatMap((each) => typeof each === 'function' ? [] : readTags(each)),
    tagsOf: tags.filter((each) => typeof each === 'function'),
    vary: varied,
    partition: readPartition(partition),
    query: query === undefined ? queryParametersOf(declared.querySchema) : new Set(readStrings('cache.query', query)),
    hosts: hosts === undefined ? undefined : new Set(readStrings('cache.hosts', hosts).map(readHost)),
    staleWhileSeconds: readSeconds('cache.staleWhileRevalidate', merged.staleWhileRevalidate) ?? 0,
    staleErrorSeconds: readSeconds('cache.staleIfError', merged.staleIfError) ?? 0,
    earlyRefresh: readBoolean('cache.earlyRefresh', merged.earlyRefresh ?? false),
    maxConcurrency: merged.maxConcurrency === undefined ? undefined : readCount('cache.maxConcurrency', merged.maxConcurrency),
    lockTimeoutMs: merged.lockTimeout === undefined ? defaults.lockTimeoutMs : readLockTimeout(merged.lockTimeout),
    honorRequestCacheControl: readBoolean('cache.honorRequestCacheControl', merged.honorRequestCacheControl ?? isByResponse),
    trackInputs: readBoolean('cache.trackInputs', merged.trackInputs ?? !isByResponse),
    browser: browserPolicy(readSeconds('cache.browserMaxAge', browserMaxAge), partition !== undefined, declared),
    maxBytes: defaults.maxBytes,
    compression: defaults.compression,
    debug: defaults.debug,
    version: defaults.version,
    constraintNames: Object.keys(declared.constraints ?? {}),
    constraints: serializeConstraints(declared.constraints ?? {}),
    coveredVary: declared.constraints?.version === undefined ? varied : [...varied, 'accept-version']
  })
}

type Merged<Request> = Omit<RouteCacheOptions<Request>, 'tags'> & { tags: NonNullable<RouteCacheOptions<Request>['tags']>[] }

const routeOptions = ['ttl', 'tags', 'vary', 'partition', 'query', 'hosts', 'staleWhileRevalidate', 'staleIfError', 'earlyRefresh', 'maxConcurrency', 'lockTimeout', 'honorRequestCacheControl', 'trackInputs', 'browserMaxAge']

/** `false` discards the outer options, `true` inherits them. Tags are combined; of every other option the innermost value is used. */
function merge<Request> (choices: readonly unknown[]): Merged<Request> | undefined {
  let merged: Merged<Request> | undefined
  for (const choice of choices) {
    if (typeof choice === 'boolean') {
      merged = readBoolean('cache', choice) ? merged ?? { tags: [] } : undefined
      continue
    }
    const { tags, ...rest } = readRecord('cache', choice, routeOptions) as RouteCacheOptions<Request>
    merged = { ...merged, ...rest, tags: [...merged?.tags ?? [], ...tags === undefined ? [] : [tags]] }
  }
  return merged
}

/**
 * Validates tags given by a caller.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readTags (tags: unknown): readonly string[] {
  const texts = readStrings('cache.tags', tags)
  const reserved = texts.find((text) => text.startsWith('='))
  return reserved === undefined ? texts : invalidOption('cache.tags', 'strings that do not begin with =', reserved)
}

/**
 * Parses the arguments of `purge`: at least one tag, optionally followed by {@link PurgeOptions}.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readPurge (args: readonly unknown[]): { readonly tags: readonly string[], readonly isSoft: boolean } {
  const list = args.find((each) => Array.isArray(each))
  if (list !== undefined) invalidOption('cache.purge()', 'called with each tag as an argument of its own, purge(...tags)', list)
  const last = args.at(-1)
  const hasOptions = typeof last === 'object' && last !== null
  const tags = hasOptions ? args.slice(0, -1) : args
  if (tags.length === 0) rejectOption('cache.purge()', 'called with at least one tag', 'none')
  const { soft = false } = hasOptions ? readRecord('cache.purge', last, ['soft']) : {}
  return { tags: readTags(tags), isSoft: readBoolean('cache.purge.soft', soft) }
}

/** A fill ends, and its lock is no longer renewed, after 30 s. */
function readLockTimeout (value: unknown): number {
  const ms = readDuration('cache.lockTimeout', value)
  return ms <= 30_000 ? ms : invalidOption('cache.lockTimeout', "a duration of at most '30s'", value)
}

function readSeconds (option: string, value: unknown): number | undefined {
  return value === undefined ? undefined : Math.max(1, Math.round(readDuration(option, value) / 1000))
}

function browserPolicy (seconds: number | undefined, hasPartition: boolean, { isForUsers }: Declared): BrowserPolicy | undefined {
  if (seconds === undefined) return undefined
  let isGuarded = hasPartition ? true : undefined
  const resolve = () => {
    isGuarded ??= isForUsers?.() === true
    return isGuarded
  }
  return { seconds, get isGuarded () { return resolve() } }
}

function readHeaderName (name: string): string {
  return /^[!#$%&'*+\-.^_`|~\w]+$/.test(name) && name !== '*' ? name.toLowerCase() : invalidOption('cache.vary', 'names of request headers', name)
}

/** A pattern or a URL would match no host: they are compared as they are. */
function readHost (host: string): string {
  return /^[^\s/\\*@?#]+$/.test(host) ? host : invalidOption('cache.hosts', "exact hosts such as 'example.com' or 'example.com:8080'", host)
}

function readPartition<Partition> (partition: Partition): Partition {
  const isKnown = partition === undefined || partition === 'user' || partition === 'session' || typeof partition === 'function'
  return isKnown ? partition : invalidOption('cache.partition', "'user', 'session' or a function", partition)
}

/** Serializes constraints in a fixed order, so that all processes build the same cache keys. */
function serializeConstraints (constraints: Readonly<Record<string, unknown>>): string {
  const sorted = Object.entries(constraints).sort(([a], [b]) => a < b ? -1 : 1)
  // Custom constraint strategies may use values that JSON cannot represent: serialize regular expressions and functions by their source.
  const plain = (_name: string, value: unknown) => value instanceof RegExp || typeof value === 'function' ? String(value) : value
  return sorted.length === 0 ? '' : encodeURIComponent(JSON.stringify(sorted, plain))
}

/** The parameters of a query schema that allows no others. */
function queryParametersOf (schema: unknown): ReadonlySet<string> | undefined {
  if (typeof schema !== 'object' || schema === null) return undefined
  const { additionalProperties, properties, patternProperties } = schema as { additionalProperties?: unknown, properties?: object, patternProperties?: object }
  return additionalProperties === false && patternProperties === undefined ? new Set(Object.keys(properties ?? {})) : undefined
}
