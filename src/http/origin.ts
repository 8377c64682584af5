import { OptionError } from '../shared/errors.ts'
import { readStrings } from '../shared/option-readers.ts'

/** What a browser says of where a request comes from. */
export interface RequestOrigin {
  /** the field `Origin` */
  readonly origin: string | undefined
  /** the field `Sec-Fetch-Site` */
  readonly site: string | undefined
  /** the request's own host, with its port */
  readonly host: string
  /** the request is known to have come over TLS; a proxy that ends TLS may hide it */
  readonly isSecure?: boolean
}

/** A name has 253 characters at most (RFC 1035 section 2.3.4); to parse a longer one may cost more than a request. */
const longestOrigin = 512
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Whether a method changes nothing by its meaning (RFC 9110 section 9.2.1). */
export function isSafeMethod (method: string): boolean {
  return safeMethods.has(method)
}

/**
 * Whether an unsafe request, or one for a WebSocket, may come from where it says: from the same origin, or from a listed one.
 * Without `Origin` and `Sec-Fetch-Site` no browser has sent it, so it may.
 *
 * @param origins exact ones that may besides the request's own
 */
export function isAllowedOrigin ({ origin, site, host, isSecure = false }: RequestOrigin, origins: readonly string[]): boolean {
  // No page can forge Sec-Fetch-Site: it also holds where Referrer-Policy makes a form of our own say `Origin: null`.
  if (site === 'same-origin' || site === 'none') return true
  if (origin !== undefined && origins.includes(origin)) return true
  // Where both speak, Sec-Fetch-Site also knows the scheme, which a proxy may hide from us.
  if (site !== undefined) return false
  return origin === undefined || isOfHost(origin, host, isSecure)
}

/**
 * Whether nothing tells where a page's request comes from: `Origin` names no origin (RFC 6454 section 7.3), as sandboxed frames and redirects
 * make any page say, and the browser sends no `Sec-Fetch-Site`.
 */
export function isOfUnknownOrigin ({ origin, site }: Pick<RequestOrigin, 'origin' | 'site'>): boolean {
  return site === undefined && origin !== undefined && (origin.length > longestOrigin || URL.parse(origin) === null)
}

/** The serialization of an origin (RFC 6454 section 6.2): nothing after host and port, no user. */
const originForm = /^https?:\/\/[^/\\@?#]+$/i

/** Compared without a default port, which browsers leave out and `Host` may name. */
function isOfHost (origin: string, host: string, isSecure: boolean): boolean {
  if (origin.length > longestOrigin || host.length > longestOrigin) return false
  const from = originForm.test(origin) ? URL.parse(origin) : null
  if (from === null) return false
  return from.host === URL.parse(`${from.protocol}//${host}`)?.host && (from.protocol === 'https:' || !isSecure)
}

/** Whether a text is an origin as browsers send it. A pattern is none: it would be compared as it stands, and match nothing. */
export function isExactOrigin (text: string): boolean {
  return /^https?:/.test(text) && !text.includes('*') && URL.parse(text)?.origin === text
}

/**
 * Reads a list of exact origins.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, without the value: it may hold a password
 */
export function readOrigins (option: string, value: unknown): readonly string[] {
  const origins = readStrings(option, value)
  const wrong = origins.findIndex((origin) => !isExactOrigin(origin))
  if (wrong === -1) return origins
  throw new OptionError(`${option}[${wrong}]`, "an exact origin such as 'https://example.com', without path, slash at the end or *, in lower case", origins[wrong]?.includes('*') ? 'a pattern' : 'another text')
}
