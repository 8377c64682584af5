const mostSeconds = 2 ** 31
/** Two numbers and a comma, with room to spare. */
const longestField = 64

/**
 * Reads `Age` (RFC 9111 section 5.1). Of a list the first counts. What cannot be read counts as the oldest there is, so that nothing is taken for
 * fresher than it is; so do several lines, and a number that comes twice in one: caches on the way have written over each other.
 *
 * @returns seconds; undefined where there is none
 */
export function parseAge (value: string | number | readonly string[] | undefined): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'object') return value.length === 1 ? parseAge(value[0]) : mostSeconds
  const text = String(value)
  if (text.length > longestField) return mostSeconds
  const members = text.split(',').map((member) => member.trim())
  const isSure = /^\d+$/.test(members[0] ?? '') && new Set(members).size === members.length
  return isSure ? Math.min(Number(members[0]), mostSeconds) : mostSeconds
}
