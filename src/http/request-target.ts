import type { IncomingMessage } from 'node:http'

/** `http://host/path?query`; what stands after `#` is nobody's business here. */
const absolute = /^https?:\/\/([^/?#]*)([^#]*)/i

/**
 * The path and query that a request asks for. Of a target in absolute form the host counts, whatever `Host` says (RFC 9112 section 3.2.2):
 * it takes that field's place.
 */
export function readTarget (message: Pick<IncomingMessage, 'url' | 'headers'>): string {
  const { url = '/', headers } = message
  const [, host, path = ''] = absolute.exec(url) ?? []
  if (host === undefined) return url
  headers.host = host
  return path.startsWith('/') ? path : `/${path}`
}
