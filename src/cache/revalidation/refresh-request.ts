import type { CacheRequest, RequestHeaders } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { RefreshRequest, RequestOrigin } from './background-refresh.ts'

/** Headers that identify the client: an internal request does not have them. */
const identities = new Set(['authorization', 'cookie', 'proxy-authorization'])

/** Fields of the client's connection, address, conditions and trace, which choose no route. */
const unrouted = /^(?::|if-|connection$|content-length$|expect$|forwarded$|http2-settings$|keep-alive$|proxy-connection$|range$|te$|trailer$|transfer-encoding$|upgrade$|x-forwarded-|x-prism-|x-real-ip$|traceparent$|tracestate$|baggage$|cache-control$|pragma$)/

/** Whether a header identifies the client. */
export function isIdentity (name: string): boolean {
  return identities.has(name)
}

/** `rewriteUrl` is applied to the internal request too. */
function urlFor ({ raw: { originalUrl } }: CacheRequest, url: string): string {
  return originalUrl ?? url
}

/**
 * Whether an internal request can have the URL of a client's request. `inject` parses it (URL standard), which resolves dot segments, encodes quotes
 * and leaves the scheme and host of an absolute form out: the result would be another key, and perhaps another resource.
 *
 * @param url path and query of the cache key
 */
export function isRepeatable (request: CacheRequest, url: string): boolean {
  const target = urlFor(request, url)
  const parsed = URL.parse(target.startsWith('//') ? `http://localhost${target}` : target, 'http://localhost')
  return parsed !== null && parsed.pathname + parsed.search === target
}

/**
 * The internal request that fills the key of a client's request. The router and `rewriteUrl` must choose the same route, although what they read is not
 * in the key; and hooks must see the scheme and host of the client, although the proxy that reported them is not involved.
 *
 * @param url path and query of the cache key
 * @param keyed headers of the cache key: validation and hooks may have changed those of the request
 */
export function refreshRequestFor (request: CacheRequest, url: string, keyed: RequestHeaders, policy: Pick<RoutePolicy, 'vary' | 'constraintNames'>): RefreshRequest {
  const { raw: { headers, socket }, protocol, host } = request
  const { hostname, port } = request as unknown as RequestOrigin
  const fields = { 'user-agent': 'fastify-prism', ...chosenFields(headers, ['host']), ...chosenFields(keyed, policy.vary) }
  const forwarded = forwardedFields(request)
  const hasProxy = Object.keys(forwarded).length > 0
  return {
    url: urlFor(request, url),
    fields,
    routingFields: { ...routingFields(request, policy), ...forwarded },
    origin: { protocol, host, ...(hostname === undefined ? {} : { hostname }), ...(port === undefined ? {} : { port }) },
    remoteAddress: hasProxy ? socket?.remoteAddress : undefined
  }
}

/** Fields by which the route may have been chosen: all that do not identify the client where a custom constraint or `rewriteUrl` may read any of them. */
function routingFields ({ raw: { headers, originalUrl } }: CacheRequest, { constraintNames }: Pick<RoutePolicy, 'constraintNames'>): Record<string, string> {
  const hasVersion = headers['accept-version'] !== undefined
  const isStandard = constraintNames.every((name) => name === 'host' || (name === 'version' && hasVersion))
  if (isStandard && originalUrl === undefined) return constraintNames.includes('version') ? chosenFields(headers, ['accept-version']) : {}
  return chosenFields(headers, Object.keys(headers).filter((name) => !isIdentity(name) && !unrouted.test(name)))
}

/** The forwarding fields that a trusted proxy has set, reduced to the values that Fastify uses. */
function forwardedFields ({ raw: { headers }, protocol, host }: CacheRequest): Record<string, string> {
  const given = { 'x-forwarded-proto': protocol, 'x-forwarded-host': host }
  return Object.fromEntries(Object.entries(given).filter(([name, value]) => lastMember(headers[name]) === value))
}

function lastMember (field: string | string[] | undefined): string | undefined {
  return field === undefined ? undefined : String(field).split(',').at(-1)?.trim()
}

function chosenFields (headers: CacheRequest['raw']['headers'], names: readonly string[]): Record<string, string> {
  const fields: Record<string, string> = {}
  for (const name of names) {
    const value = headers[name]
    if (value !== undefined) fields[name] = String(value)
  }
  return fields
}
