import { OptionError } from '../shared/errors.ts'
import { readStrings } from '../shared/option-readers.ts'

/** What a browser states about the origin of a request. */
export interface RequestOrigin {
  /** header `Origin` */
  readonly origin: string | undefined
  /** header `Sec-Fetch-Site` */
  readonly site: string | undefined
  /** host and port of the request */
  readonly host: string
  /** the request is known to have arrived over TLS; false is possible behind a proxy that terminates TLS */
  readonly isSecure?: boolean
}

/** A host name has at most 253 characters (RFC 1035 section 2.3.4); parsing a much longer text could cost more than the request. */
const longestOrigin = 512
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Whether a method is safe (RFC 9110 section 9.2.1). */
export function isSafeMethod (method: string): boolean {
  return safeMethods.has(method)
}

/**
 * Whether the origin of an unsafe request, or of a WebSocket request, is allowed: the same origin, or a listed one.
 * A request without `Origin` and `Sec-Fetch-Site` does not come from a browser, so it is allowed.
 *
 * @param origins exact origins that are allowed besides the request's own
 */
export function isAllowedOrigin ({ origin, site, host, isSecure = false }: RequestOrigin, origins: readonly string[]): boolean {
  // A page cannot forge Sec-Fetch-Site. It is also correct where Referrer-Policy makes the app's own form send `Origin: null`.
  if (site === 'same-origin' || site === 'none') return true
  if (origin !== undefined && origins.includes(origin)) return true
  // Sec-Fetch-Site takes precedence over Origin: it also considers the scheme, which a proxy may hide.
  if (site !== undefined) return false
  return origin === undefined || isOfHost(origin, host, isSecure)
}

/**
 * Whether `Origin` is opaque (RFC 6454 section 7.3): any page can cause it, by a sandboxed frame, a redirect or `Referrer-Policy: no-referrer`.
 */
export function isOpaqueOrigin (origin: string | undefined): boolean {
  return origin !== undefined && (origin.length > longestOrigin || URL.parse(origin) === null)
}

/** The serialization of an origin (RFC 6454 section 6.2): nothing after host and port, no user information. */
const originForm = /^https?:\/\/[^/\\@?#]+$/i

/** Compares without the default port, which browsers omit and `Host` may contain. */
function isOfHost (origin: string, host: string, isSecure: boolean): boolean {
  if (origin.length > longestOrigin || host.length > longestOrigin) return false
  const from = originForm.test(origin) ? URL.parse(origin) : null
  if (from === null) return false
  return from.host === URL.parse(`${from.protocol}//${host}`)?.host && (from.protocol === 'https:' || !isSecure)
}

/** An origin of another scheme, as WebViews and browser extensions send it: `capacitor://localhost`, `chrome-extension://…`. */
const appOrigin = /^(?!https?:|file:|javascript:|data:|blob:|ws:|wss:|ftp:)[a-z][a-z0-9+.-]*:\/\/[a-z0-9._~-]+(?::\d{1,5})?$/

/** Whether a text is an origin as browsers send it. A pattern is rejected: it would be compared literally and match nothing. */
export function isExactOrigin (text: string): boolean {
  if (appOrigin.test(text)) return text.length <= longestOrigin
  return /^https?:/.test(text) && !text.includes('*') && URL.parse(text)?.origin === text
}

/**
 * Reads an option that is a list of exact origins.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, without the value, which may contain a password
 */
export function readOrigins (option: string, value: unknown): readonly string[] {
  const origins = readStrings(option, value)
  const wrong = origins.findIndex((origin) => !isExactOrigin(origin))
  if (wrong === -1) return origins
  throw new OptionError(`${option}[${wrong}]`, "an exact origin such as 'https://example.com', without path, slash at the end or *, in lower case", origins[wrong]?.includes('*') ? 'a pattern' : 'another text')
}
