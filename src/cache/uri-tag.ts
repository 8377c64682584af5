import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

const remembered = new LRUCache<string, string>({ max: 2000 })

/**
 * Names all answers of one URI, for an unsafe request that changes it (RFC 9111 section 4.4). `=` keeps it apart from the tags of routes.
 *
 * @param url path and query
 */
export function uriTag ({ host }: { host: string }, url: string): string {
  const uri = `${host.toLowerCase()}${url}`
  const before = remembered.get(uri)
  if (before !== undefined) return before
  const tag = `=${hash('sha256', uri, 'base64url').slice(0, 22)}`
  if (uri.length <= 512) remembered.set(uri, tag)
  return tag
}
