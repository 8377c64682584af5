import { readOrigins } from '../http/origin.ts'
import { readChoice, readDuration, readRecord, readString, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { resolveRedisPolicy } from '../redis/options.ts'
import type { RedisOptions, RedisPolicy } from '../redis/options.ts'
import { readConflictRules } from './conflict-rules.ts'
import type { ConflictRule, ConflictRules } from './conflict-rules.ts'

/** How the session cookie is set. */
export interface SessionCookieOptions {
  /** Name of the cookie; over TLS it has the prefix `__Host-`. Default: `'sid'`. */
  name?: string | undefined
  /** `true`: always `Secure`, also where a proxy ends TLS unseen; `false`: never; `'auto'`: as the request came. Default: `'auto'`. */
  secure?: boolean | 'auto' | undefined
  /** The domain whose hosts share the cookie: `'example.com'`. Excludes `__Host-`. Default: the request's host alone. */
  domain?: string | undefined
  /** Path below which browsers send the cookie: `'/app'`. A path other than `/` excludes `__Host-`. Default: `'/'`. */
  path?: string | undefined
  /** `'none'` requires `secure: true`: requests of other sites then bring the cookie, and only the check of their origin protects them. Default: `'lax'`. */
  sameSite?: 'lax' | 'strict' | 'none' | undefined
  /** `'session'`: a cookie that ends with the browser; `'expiring'`: as long as the session. Default: `'expiring'`. */
  lifetime?: 'session' | 'expiring' | undefined
  /** Adds `Partitioned`, for use inside another site's frame. Default: false. */
  partitioned?: boolean | undefined
}

/** Options of sessions. */
export interface SessionOptions {
  /** Secrets of at least 32 characters each, newest first: the first encrypts cookies, all decrypt them. Required. */
  secrets: readonly string[]
  /** A session ends after this time without a request: `'30m'`, `'1h'`, `'30d'`. Default: `'1h'`. */
  idleTimeout?: Duration | undefined
  /** A session ends after this time in any case: `'12h'`, `'30d'`. Default: `'12h'`, or `idleTimeout` if that is longer. */
  absoluteTimeout?: Duration | undefined
  /** Exact origins, besides the request's own, whose pages may send unsafe requests and open WebSockets with a session: `['https://app.example']`. Default: none. */
  trustedOrigins?: readonly string[] | undefined
  /** How the cookie is set. Default: see each option. */
  cookie?: SessionCookieOptions | undefined
  /** What happens when two requests set a key at once, by key, and `default` for all other keys: `'reject'`, `'lastWriteWins'` or a merge function. Default: `{ default: 'reject' }`. */
  onConflict?: Readonly<Record<string, ConflictRule>> | undefined
  /** A separate Redis, where a full cache cannot evict sessions. Default: the stack's. */
  redis?: RedisOptions | undefined
}

/** {@link SessionCookieOptions} after defaults and checks. */
interface CookiePolicy {
  readonly name: string
  readonly secure: boolean | 'auto'
  readonly partitioned: boolean
  readonly domain: string | undefined
  readonly path: string
  readonly sameSite: 'lax' | 'strict' | 'none'
  readonly isPersistent: boolean
}

/** {@link SessionOptions} after defaults and checks. */
export interface SessionPolicy {
  readonly secrets: readonly string[]
  readonly idleMs: number
  readonly absoluteMs: number
  readonly trustedOrigins: readonly string[]
  readonly cookie: CookiePolicy
  readonly onConflict: ConflictRules
  readonly redis: RedisPolicy | undefined
}

/** What a route wants of the session: one that is live, one if there is one, or none at all. */
type SessionUse = 'required' | 'optional' | false

/** What a route or a scope may say of the session. */
export type SessionChoice = SessionUse | object & {
  /** default: as the scopes around it say */
  use?: Exclude<SessionUse, false>
  /** exact origins whose pages may make unsafe requests to this route, besides those of the scopes and of the stack: for callbacks that other sites post */
  trustedOrigins?: readonly string[]
}

/** What a route was resolved to. */
export interface SessionRoute {
  readonly use: SessionUse
  readonly origins: readonly string[]
}

/** Each secret has at least so many characters. */
const secretLength = 32
/** Labels of letters, digits and hyphens (RFC 1123 section 2.1), at least two: browsers reject a top-level domain. */
const cookieDomain = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/
/** `path-value` of RFC 6265 section 4.1.1 */
const cookiePath = /^\/[\x20-\x3a\x3c-\x7e]*$/
/** What a cookie's name may hold, RFC 6265 section 4.1.1. */
const cookieName = /^[\w!#$%&'*+.^`|~-]+$/

/**
 * Checks what an app says of its sessions.
 *
 * @throws {OptionError} PRISM_ERR_OPTION; it shows no secret
 */
export function resolveSessionPolicy (options: SessionOptions): SessionPolicy {
  readRecord('session', options, ['secrets', 'idleTimeout', 'absoluteTimeout', 'trustedOrigins', 'cookie', 'onConflict', 'redis'])
  const idleMs = readDuration('session.idleTimeout', options.idleTimeout ?? '1h')
  const absoluteMs = readDuration('session.absoluteTimeout', options.absoluteTimeout ?? (idleMs > 43_200_000 ? options.idleTimeout : '12h'))
  if (idleMs > absoluteMs) invalidOption('session.idleTimeout', `at most session.absoluteTimeout (${absoluteMs} ms)`, options.idleTimeout)
  return Object.freeze({
    secrets: readSecrets(options.secrets),
    idleMs,
    absoluteMs,
    trustedOrigins: readOrigins('session.trustedOrigins', options.trustedOrigins ?? []),
    cookie: readCookie(options.cookie ?? {}),
    onConflict: readConflictRules(options.onConflict ?? {}),
    redis: options.redis === undefined ? undefined : resolveRedisPolicy(options.redis)
  })
}

/**
 * What a route wants of the session: the innermost choice.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveSessionUse (choices: readonly unknown[]): SessionUse {
  return choices.flatMap((choice) => useOf(choice) ?? []).at(-1) ?? 'optional'
}

/**
 * Which origins a route trusts besides the stack's: those of all scopes around it, and its own.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveSessionOrigins (choices: readonly unknown[]): readonly string[] {
  return Object.freeze(choices.flatMap((choice) => typeof choice === 'object' ? readOrigins('config.session.trustedOrigins', (choice as { trustedOrigins?: unknown } | null)?.trustedOrigins ?? []) : []))
}

function useOf (choice: unknown): SessionUse | undefined {
  if (choice === false) return false
  const use = typeof choice === 'object' ? readRecord('config.session', choice, ['use', 'trustedOrigins']).use : choice
  return typeof choice === 'object' && use === undefined ? undefined : readChoice('config.session', use, ['required', 'optional'] as const)
}

function readSecrets (secrets: unknown): readonly string[] {
  const wanted = `a list of one or more texts of at least ${secretLength} characters, newest first, no two the same`
  const isFine = Array.isArray(secrets) && secrets.length > 0 && secrets.every((secret) => typeof secret === 'string' && secret.length >= secretLength) && new Set(secrets).size === secrets.length
  return isFine ? Object.freeze([...secrets as string[]]) : invalidOption('session.secrets', wanted, secrets)
}

function readCookie (cookie: SessionCookieOptions): CookiePolicy {
  const { name = 'sid', secure = 'auto', partitioned = false, domain, path = '/', sameSite = 'lax', lifetime = 'expiring' } = readRecord('session.cookie', cookie, ['name', 'secure', 'partitioned', 'domain', 'path', 'sameSite', 'lifetime']) as SessionCookieOptions
  if (!cookieName.test(readString('session.cookie.name', name)) || /^__/.test(name)) invalidOption('session.cookie.name', "a cookie's name without a prefix such as __Host-, which is added over TLS", name)
  if (typeof secure !== 'boolean' && secure !== 'auto') invalidOption('session.cookie.secure', "true, false or 'auto'", secure)
  if (typeof partitioned !== 'boolean') invalidOption('session.cookie.partitioned', 'true or false', partitioned)
  if (domain !== undefined && !(typeof domain === 'string' && domain.length <= 253 && cookieDomain.test(domain))) invalidOption('session.cookie.domain', "a domain such as 'example.com', without a dot in front, scheme or port, in lower case", domain)
  if (typeof path !== 'string' || !cookiePath.test(path)) invalidOption('session.cookie.path', "a path such as '/app', without ;", path)
  readChoice('session.cookie.sameSite', sameSite, ['lax', 'strict', 'none'] as const)
  readChoice('session.cookie.lifetime', lifetime, ['session', 'expiring'] as const)
  if (sameSite === 'none' && secure !== true) invalidOption('session.cookie.sameSite', "'lax' or 'strict' unless session.cookie.secure is true: browsers reject SameSite=None without Secure", sameSite)
  if (partitioned && sameSite === 'strict') invalidOption('session.cookie.sameSite', "'lax' or 'none' with session.cookie.partitioned, whose cookie is for frames of other sites", sameSite)
  return Object.freeze({ name, secure, partitioned, domain, path, sameSite, isPersistent: lifetime === 'expiring' })
}
