import { readChoice, readDuration, readRecord, readText, readTexts, refuse } from '../options.ts'
import type { Duration } from '../options.ts'
import { resolveRedisPolicy } from '../redis/policy.ts'
import type { RedisOptions, RedisPolicy } from '../redis/policy.ts'

/** Joins two writes of one key: what both began from, what this request set, what another has saved meanwhile. */
export type Merge = (base: unknown, mine: unknown, theirs: unknown) => unknown

/** What happens when two requests set the same key at once; without a rule it is a conflict. */
export type KeyRule = { lastWriteWins: true } | { merge: Merge }

/** How the cookie is set. */
export interface SessionCookieOptions {
  /** default `sid`; over TLS `__Host-` stands before it */
  name?: string | undefined
  /** `true`: always `Secure`, also where a proxy ends TLS unseen; `false`: never; default `auto`: as the request came */
  secure?: boolean | 'auto' | undefined
  /** adds `Partitioned`, for use inside another site's frame; default no */
  partitioned?: boolean | undefined
}

/** What an app may say of its sessions. */
export interface SessionOptions {
  /** newest first, each at least 32 characters: the first seals cookies, the others still open theirs */
  secrets: readonly string[]
  /** a session ends after so long without a request; default `'1h'` */
  idle?: Duration | undefined
  /** a session ends after so long whatever happens; default `'12h'` */
  absolute?: Duration | undefined
  /** exact origins whose pages may make unsafe requests; default: the request's own host */
  origins?: readonly string[] | undefined
  /** how the cookie is set */
  cookie?: SessionCookieOptions | undefined
  /** keys that two requests may set at once */
  keys?: Readonly<Record<string, KeyRule>> | undefined
  /** a Redis of their own, where a full cache cannot push sessions out; default: the stack's */
  redis?: RedisOptions | undefined
}

/** {@link SessionOptions} after defaults and checks. */
export interface SessionPolicy {
  readonly secrets: readonly string[]
  readonly idleMs: number
  readonly absoluteMs: number
  readonly origins: readonly string[]
  readonly cookie: { readonly name: string, readonly secure: boolean | 'auto', readonly partitioned: boolean }
  readonly keys: ReadonlyMap<string, KeyRule>
  readonly redis: RedisPolicy | undefined
}

/** What a route wants of the session: one that is live, one if there is one, or none at all. */
export type SessionUse = 'required' | 'optional' | false

/** Each secret has at least so many characters. */
const secretLength = 32
/** What a cookie's name may hold, RFC 6265 section 4.1.1. */
const cookieName = /^[\w!#$%&'*+.^`|~-]+$/

/**
 * Checks what an app says of its sessions.
 *
 * @throws {OptionError} PRISM_ERR_OPTION; it shows no secret
 */
export function resolveSessionPolicy (options: SessionOptions): SessionPolicy {
  readRecord('session', options, ['secrets', 'idle', 'absolute', 'origins', 'cookie', 'keys', 'redis'])
  const idleMs = readDuration('session.idle', options.idle ?? '1h')
  const absoluteMs = readDuration('session.absolute', options.absolute ?? (idleMs > 43_200_000 ? options.idle : '12h'))
  if (idleMs > absoluteMs) refuse('session.idle', `at most session.absolute (${absoluteMs} ms)`, options.idle)
  return Object.freeze({
    secrets: readSecrets(options.secrets),
    idleMs,
    absoluteMs,
    origins: readOrigins(options.origins ?? []),
    cookie: readCookie(options.cookie ?? {}),
    keys: readKeys(options.keys ?? {}),
    redis: options.redis && resolveRedisPolicy(options.redis)
  })
}

/**
 * What a route wants of the session: the innermost choice.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveSessionUse (choices: readonly unknown[]): SessionUse {
  const uses = choices.map<SessionUse>((choice) => choice === false ? false : readChoice('config.session', choice, ['required', 'optional'] as const))
  return uses.at(-1) ?? 'optional'
}

function readSecrets (secrets: unknown): readonly string[] {
  const wanted = `a list of one or more texts of at least ${secretLength} characters, newest first, no two the same`
  const isFine = Array.isArray(secrets) && secrets.length > 0 && secrets.every((secret) => typeof secret === 'string' && secret.length >= secretLength) && new Set(secrets).size === secrets.length
  return isFine ? Object.freeze([...secrets as string[]]) : refuse('session.secrets', wanted, secrets)
}

function readOrigins (origins: unknown): readonly string[] {
  const texts = readTexts('session.origins', origins)
  const wrong = texts.find((text) => !/^https?:/.test(text) || URL.parse(text)?.origin !== text)
  return wrong === undefined ? texts : refuse('session.origins', "a list of exact origins such as 'https://example.com'", wrong)
}

function readCookie (cookie: SessionCookieOptions): SessionPolicy['cookie'] {
  const { name = 'sid', secure = 'auto', partitioned = false } = readRecord('session.cookie', cookie, ['name', 'secure', 'partitioned']) as SessionCookieOptions
  if (!cookieName.test(readText('session.cookie.name', name)) || /^__/.test(name)) refuse('session.cookie.name', "a cookie's name without a prefix such as __Host-, which is added over TLS", name)
  if (typeof secure !== 'boolean' && secure !== 'auto') refuse('session.cookie.secure', "true, false or 'auto'", secure)
  if (typeof partitioned !== 'boolean') refuse('session.cookie.partitioned', 'true or false', partitioned)
  return Object.freeze({ name, secure, partitioned })
}

function readKeys (keys: unknown): ReadonlyMap<string, KeyRule> {
  const record = readRecord('session.keys', keys, Object.keys(Object(keys)))
  return new Map(Object.entries(record).map(([key, rule]) => [key, readRule(`session.keys.${key}`, rule)]))
}

function readRule (option: string, rule: unknown): KeyRule {
  const { lastWriteWins, merge } = readRecord(option, rule, ['lastWriteWins', 'merge'])
  if (lastWriteWins === true && merge === undefined) return { lastWriteWins }
  if (typeof merge === 'function' && lastWriteWins === undefined) return { merge: merge as Merge }
  return refuse(option, '{ lastWriteWins: true } or { merge: (base, mine, theirs) => … }', rule)
}
