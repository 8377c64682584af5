import type { IncomingMessage } from 'node:http'
import { CookieTooLargeError, ExpectationError, HostError, MethodError, TransferEncodingError } from '../errors.ts'

const cookieBytes = 8192
const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
/** An optional host and an optional port: RFC 3986 section 3.2, without user information. */
const hostForm = /^(?:\[[\w.~!$&'()*+,;=:-]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::\d*)?$/i

/**
 * Checks whether a request must be rejected before routing.
 *
 * - Not exactly one `Host`, or an invalid one, RFC 9112 section 3.2: intermediaries could use different hosts.
 * - `Transfer-Encoding` in HTTP/1.0, RFC 9112 section 6.1: the end of the message is ambiguous. Or an unsupported coding.
 * - `Expect` other than 100-continue, RFC 9110 section 10.1.1.
 * - `TRACE`, whose response repeats the request with its cookies.
 * - More cookie bytes than a browser sends for the cookies of this service.
 *
 * @returns an error for the client, after which the connection closes; undefined if the request is valid
 */
export function refusalOf (message: IncomingMessage): Error | undefined {
  const { method = '', headers, httpVersion } = message
  const host = hostFaultOf(message)
  if (host !== undefined) return new HostError(host)
  const coding = headers['transfer-encoding']
  if (coding !== undefined && (httpVersion === '1.0' || !/^chunked$/i.test(coding))) return new TransferEncodingError()
  if (headers.expect !== undefined && !/^100-continue$/i.test(headers.expect)) return new ExpectationError()
  if (method === 'TRACE') return Object.assign(new MethodError(method), { headers: { allow: methods } })
  const bytes = headers.cookie?.length ?? 0
  return bytes > cookieBytes ? new CookieTooLargeError(bytes, cookieBytes) : undefined
}

/** What is invalid about the `Host` header, which only HTTP/1.0 may omit. */
function hostFaultOf ({ headers: { host = '' }, httpVersion, rawHeaders }: IncomingMessage): number | string | undefined {
  const hosts = countHosts(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) return hosts
  return hostForm.test(host) ? undefined : 'one that names no host'
}

/** Counts in `rawHeaders`: `headers` has only the first of several. */
function countHosts (rawHeaders: readonly string[]): number {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}
