import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

const remembered = new LRUCache<string, string>({ max: 2000 })

/**
 * Names all answers of one URI, for an unsafe request that changes it (RFC 9111 section 4.4), however it spells that. `=` keeps it apart from the tags of routes.
 *
 * @param url path and query
 */
export function uriTag ({ host }: { host: string }, url: string): string {
  const uri = `${host.toLowerCase()}${url.includes('%') ? normalised(url) : url}`
  const before = remembered.get(uri)
  if (before !== undefined) return before
  const tag = `=${hash('sha256', uri, 'base64url').slice(0, 22)}`
  if (uri.length <= 512) remembered.set(uri, tag)
  return tag
}

/** One spelling of what RFC 3986 section 6.2.2 calls the same: `/%31`, `/1`; `/%2f`, `/%2F`. */
function normalised (url: string): string {
  return url.replace(/%[0-9a-f]{2}/gi, (escaped) => {
    const character = String.fromCharCode(Number.parseInt(escaped.slice(1), 16))
    return /[\w.~-]/.test(character) ? character : escaped.toUpperCase()
  })
}

/**
 * Names those answers of one path that stand for several of its queries (`No-Vary-Search`): an unsafe request to any of them changes them all.
 *
 * @param url path, with or without a query
 */
export function searchTag (request: { host: string }, url: string): string {
  const end = url.indexOf('?')
  return uriTag(request, `?${end < 0 ? url : url.slice(0, end)}`)
}

/** The tags of an answer that stands for several queries of its path, or does not any more. */
export function retagged (tags: readonly string[], request: { host: string }, url: string, isSearched: boolean): readonly string[] {
  const [own, path] = [uriTag(request, url), searchTag(request, url)]
  return tags.map((tag) => tag === (isSearched ? own : path) ? (isSearched ? path : own) : tag)
}
