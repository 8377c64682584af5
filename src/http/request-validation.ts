import type { IncomingMessage } from 'node:http'
import { CookieTooLargeError, ExpectationError, HostError, MethodError, TransferEncodingError } from '../shared/errors.ts'

const cookieBytes = 8192
const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
/** A host, or nothing, and a port: RFC 3986 section 3.2, without a user. */
const hostForm = /^(?:\[[\w.~!$&'()*+,;=:-]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::\d*)?$/i

/**
 * Says why a request is not looked at further, whatever it asks for.
 *
 * - Not exactly one `Host`, or one that is none, RFC 9112 section 3.2: two parties on the way could each believe another one.
 * - `Transfer-Encoding` in HTTP/1.0, RFC 9112 section 6.1: its end is a matter of opinion. Or a coding that nobody here undoes.
 * - `Expect` with what nobody here meets, RFC 9110 section 10.1.1.
 * - `TRACE`, which mirrors a request with all its cookies.
 * - Cookies beyond any browser's allowance for what this service sets.
 *
 * @returns an error for the client, after which the connection closes; undefined for all other requests
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

/** What is wrong with a request's `Host`, which only HTTP/1.0 may leave out. */
function hostFaultOf ({ headers: { host = '' }, httpVersion, rawHeaders }: IncomingMessage): number | string | undefined {
  const hosts = countHosts(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) return hosts
  return hostForm.test(host) ? undefined : 'one that names no host'
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
