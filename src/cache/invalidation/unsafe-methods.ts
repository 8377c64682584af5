import { parseGroups } from '../../http/cache-groups.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import { uriTag } from './uri-tag.ts'

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY'])

/** Whether a method is unsafe (RFC 9110 section 9.2.1). Unknown methods are. */
export function isUnsafe (method: string): boolean {
  return !safeMethods.has(method)
}

/**
 * The tags that an unsafe request invalidates: of its own URI, of `Location` and `Content-Location` if they have the same origin
 * (RFC 9111 section 4.4), and of the groups in `Cache-Group-Invalidation` (RFC 9875 section 3). An error response invalidates nothing.
 */
export function invalidatedBy (request: CacheRequest, reply: CacheReply): string[] {
  if (reply.statusCode < 200 || reply.statusCode > 399) return []
  const target = request.raw.url ?? ''
  const base = `${request.protocol}://${request.host}`
  const others = ['location', 'content-location'].flatMap((name) => sameOrigin(reply.getHeader(name), target, base))
  const groups = parseGroups(reply.getHeader('cache-group-invalidation')).filter((group) => group !== '' && !group.startsWith('='))
  return [...new Set([...[target, ...others].map((url) => uriTag(request, url)), ...groups])]
}

function sameOrigin (reference: unknown, target: string, base: string): string[] {
  if (typeof reference !== 'string' || !URL.canParse(target, base)) return []
  const targetUrl = new URL(target, base)
  if (!URL.canParse(reference, targetUrl.href)) return []
  const url = new URL(reference, targetUrl.href)
  return url.origin === targetUrl.origin ? [url.pathname + url.search] : []
}
