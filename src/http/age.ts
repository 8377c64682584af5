const maxSeconds = 2 ** 31

/**
 * Reads `Age` (RFC 9111 section 5.1). Of several values the first counts. A value that is not a non-negative integer is ignored.
 *
 * @returns seconds; undefined without the header, and if its first value is invalid
 */
export function parseAge (value: string | number | readonly string[] | undefined): number | undefined {
  if (value === undefined) return undefined
  const text = typeof value === 'object' ? value.join(',') : String(value)
  const first = /^[\s,]*(\d+)\s*(?:,|$)/.exec(text)?.[1]
  return first === undefined ? undefined : Math.min(Number(first), maxSeconds)
}
