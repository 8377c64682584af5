import type { IncomingMessage } from 'node:http'

/** `http://host/path?query`; a fragment is ignored. */
const absolute = /^https?:\/\/([^/?#]*)([^#]*)/i

/**
 * The path and query of a request. The host of a target in absolute form replaces the `Host` header (RFC 9112 section 3.2.2).
 */
export function readTarget (message: Pick<IncomingMessage, 'url' | 'headers'>): string {
  const { url = '/', headers } = message
  const [, host, path = ''] = absolute.exec(url) ?? []
  if (host === undefined) return url
  headers.host = host
  return path.startsWith('/') ? path : `/${path}`
}
