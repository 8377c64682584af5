import { isIP } from 'node:net'

const bitsAGroup = 16
const groups = 8

/**
 * The client that an address identifies: an IPv4 address, or the network of an IPv6 address, because one subscriber has a whole network.
 *
 * An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, also written `::ffff:c000:201`) is IPv4. Different spellings of one address are one client.
 *
 * @param address untrusted text; the zone of `fe80::1%eth0` is ignored, and an IPv4 address with a zone is invalid
 * @param prefixBits prefix length of the IPv6 network
 * @returns characters of `[0-9a-f.-]` only: `192.0.2.1`, `2001-db8-0-1-0-0-0-0`; undefined if the text is not an address
 */
export function addressGroup (address: string, prefixBits = 64): string | undefined {
  const bare = withoutZone(address)
  const family = isIP(bare)
  if (family === 4) return bare === address ? bare : undefined
  if (family === 0) return undefined
  const words = wordsOf(bare)
  if (isMapped(words)) return [words[6], words[7]].flatMap((word = 0) => [word >> 8, word & 255]).join('.')
  return words.map((word, index) => (word & maskOf(prefixBits - index * bitsAGroup)).toString(16)).join('-')
}

/** Longest text that is parsed, in characters: IPv6 with a zone, brackets, quotes, a port and the parameter's name. */
const longestHop = 128

/**
 * The address in a hop of `X-Forwarded-For`, without what proxies add to it: `203.0.113.9:51234`, `[2001:db8::1]:443`, and the
 * forms of RFC 7239 section 6 (`for="[2001:db8::1]:4711"`). IPv6 without brackets has no port.
 *
 * @returns the unchanged hop if it contains no address
 */
export function bareAddress (hop: string): string {
  if (isIP(hop) !== 0 || hop.length > longestHop) return hop
  const [node = ''] = hop.trim().replace(/^for=/i, '').split(';')
  const text = node.replace(/^"(.*)"$/, '$1')
  const bracketed = /^\[([^\]]*)\](?::\w*)?$/.exec(text)?.[1]
  const address = bracketed ?? (/^(.*\.\d+):\w*$/.exec(text)?.[1] ?? text)
  return isIP(address) === 0 ? hop : address
}

/** RFC 4007 section 11: a zone names a link, and has a meaning on its own machine only. */
export function withoutZone (address: string): string {
  const at = address.indexOf('%')
  return at === -1 ? address : address.slice(0, at)
}

/** The eight groups of a valid IPv6 address. */
function wordsOf (address: string): number[] {
  const [head = '', tail] = address.split('::')
  const left = readGroups(head)
  const right = tail === undefined ? [] : readGroups(tail)
  const gap = new Array<number>(groups - left.length - right.length).fill(0)
  return tail === undefined ? left : [...left, ...gap, ...right]
}

function readGroups (text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [a * 256 + b, c * 256 + d]
  })
}

/** IPv4-mapped, RFC 4291 section 2.5.5.2. */
function isMapped (words: readonly number[]): boolean {
  return words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff
}

function maskOf (bits: number): number {
  if (bits >= bitsAGroup) return 0xffff
  return bits <= 0 ? 0 : (0xffff << (bitsAGroup - bits)) & 0xffff
}
