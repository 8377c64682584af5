import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

const memo = new LRUCache<string, string>({ max: 2000 })

/**
 * The tag of all responses of one URI, in any spelling, by which an unsafe request invalidates them (RFC 9111 section 4.4).
 * The prefix `=` separates it from the tags of routes.
 *
 * @param url path and query
 */
export function uriTag ({ host }: { host: string }, url: string): string {
  const uri = `${host.toLowerCase()}${url.includes('%') ? normalize(url) : url}`
  const before = memo.get(uri)
  if (before !== undefined) return before
  const tag = `=${hash('sha256', uri, 'base64url').slice(0, 22)}`
  if (uri.length <= 512) memo.set(uri, tag)
  return tag
}

/** Normalized spelling of each escaped byte: unreserved characters are not escaped (RFC 3986 section 2.3). */
const spellings = Array.from({ length: 256 }, (_none, byte) => {
  const character = String.fromCharCode(byte)
  return /[\w.~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
})

/** Normalizes percent-encoding (RFC 3986 section 6.2.2): `/%31` to `/1`, `/%2f` to `/%2F`. */
function normalize (url: string): string {
  let text = ''
  let from = 0
  for (let at = 0; at < url.length; at++) {
    if (url.charCodeAt(at) !== 0x25) continue
    const high = digitOf(url.charCodeAt(at + 1))
    const low = digitOf(url.charCodeAt(at + 2))
    if (high < 0 || low < 0) continue
    text += url.slice(from, at) + spellings[high * 16 + low]
    from = at + 3
  }
  return text + url.slice(from)
}

/** The value of a hexadecimal digit; -1 for any other character. */
function digitOf (code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}
