import { parseGroups } from '../../http/cache-groups.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import { uriTag } from './uri-tag.ts'

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY'])

/** Whether a method may change what others read (RFC 9110 section 9.2.1); one that is not known may. */
export function isUnsafe (method: string): boolean {
  return !safeMethods.has(method)
}

/**
 * The tags that an unsafe request's answer drops: those of its own URI, of `Location` and `Content-Location` where they are of the same origin
 * (RFC 9111 section 4.4), and of the groups that it names (RFC 9875 section 3). An error drops nothing.
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
  const own = new URL(target, base)
  if (!URL.canParse(reference, own.href)) return []
  const url = new URL(reference, own.href)
  return url.origin === own.origin ? [url.pathname + url.search] : []
}
