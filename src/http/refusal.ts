import type { IncomingMessage } from 'node:http'
import { CookieTooLargeError, HostError, MethodError, TransferEncodingError } from '../errors.ts'

const cookieBytes = 8192
const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'

/**
 * Says why a request is not looked at further, whatever it asks for.
 *
 * - Not exactly one `Host`, RFC 9112 section 3.2: two parties on the way could each believe another one.
 * - `Transfer-Encoding` in HTTP/1.0, RFC 9112 section 6.1: its end is a matter of opinion.
 * - `TRACE`, which mirrors a request with all its cookies.
 * - Cookies beyond any browser's allowance for what this service sets.
 *
 * @returns an error for the client, after which the connection closes; undefined for all other requests
 */
export function refusalOf (message: IncomingMessage): Error | undefined {
  const { method = '', headers, httpVersion, rawHeaders } = message
  const hosts = countHosts(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1')) return new HostError(hosts)
  if (httpVersion === '1.0' && headers['transfer-encoding'] !== undefined) return new TransferEncodingError()
  if (method === 'TRACE') return Object.assign(new MethodError(method), { headers: { allow: methods } })
  const bytes = headers.cookie?.length ?? 0
  return bytes > cookieBytes ? new CookieTooLargeError(bytes, cookieBytes) : undefined
}

/** `headers` has only the first of several. */
function countHosts (rawHeaders: readonly string[]): number {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}
