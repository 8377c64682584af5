/** A range of bytes, both ends inclusive. */
export interface ByteRange {
  readonly first: number
  readonly last: number
}

// A run of spaces can be matched by one `\s*` only, so that a match that fails is linear.
const oneRange = /^bytes\s*=\s*(?:(\d+)\s*)?-\s*(?:(\d+)\s*)?$/i

/**
 * Parses `Range` (RFC 9110 section 14.1.2) for a body of this length.
 *
 * @returns the range; `unsatisfiable` if it begins after the end; undefined if the header is ignored: several ranges, another unit, invalid syntax
 */
export function parseRange (value: string | undefined, length: number): ByteRange | 'unsatisfiable' | undefined {
  const [, from = '', to = ''] = oneRange.exec(value ?? '') ?? []
  if (from === '' && to === '') return undefined
  if (from === '') return suffix(Number(to), length)
  const first = Number(from)
  const last = to === '' ? length - 1 : Math.min(Number(to), length - 1)
  if (to !== '' && Number(to) < first) return undefined
  return first < length ? { first, last } : 'unsatisfiable'
}

function suffix (count: number, length: number): ByteRange | 'unsatisfiable' {
  return count === 0 || length === 0 ? 'unsatisfiable' : { first: Math.max(0, length - count), last: length - 1 }
}
