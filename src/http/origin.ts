/** What a browser says of where a request comes from. */
export interface Provenance {
  /** the field `Origin` */
  readonly origin: string | undefined
  /** the field `Sec-Fetch-Site` */
  readonly site: string | undefined
  /** the request's own host, with its port */
  readonly host: string
}

/** A name has 253 characters at most (RFC 1035 section 2.3.4); to parse a longer one may cost more than a request. */
const longestOrigin = 512
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Whether a method changes nothing by its meaning (RFC 9110 section 9.2.1). */
export function isSafeMethod (method: string): boolean {
  return safeMethods.has(method)
}

/**
 * Whether a request that changes something may come from where it says. Without `Origin` and `Sec-Fetch-Site` no browser has sent it: it may.
 *
 * @param origins exact ones that may; none: the request's own host alone
 */
export function isWelcome ({ origin, site, host }: Provenance, origins: readonly string[]): boolean {
  if (origins.length > 0 && origin !== undefined) return origins.includes(origin)
  // Where both speak, Sec-Fetch-Site also knows the scheme, which a proxy may hide from us.
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  return origin === undefined || isOfHost(origin, host)
}

/** Compared without a default port, which browsers leave out and `Host` may name. */
function isOfHost (origin: string, host: string): boolean {
  if (origin.length > longestOrigin || host.length > longestOrigin) return false
  const from = URL.parse(origin)
  return from !== null && from.host !== '' && from.host === URL.parse(`${from.protocol}//${host}`)?.host
}
