const maxSeconds = 2 ** 31
/** Characters: two numbers and a comma, and a margin. */
const longestField = 64

/**
 * Reads `Age` (RFC 9111 section 5.1). The first member of a list is used. An invalid value, several header lines and a repeated number return the
 * maximum, so that a response is never treated as fresher than it is.
 *
 * @returns seconds; undefined without the header
 */
export function parseAge (value: string | number | readonly string[] | undefined): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'object') return value.length === 1 ? parseAge(value[0]) : maxSeconds
  const text = String(value)
  if (text.length > longestField) return maxSeconds
  const members = text.split(',').map((member) => member.trim())
  const isValid = /^\d+$/.test(members[0] ?? '') && new Set(members).size === members.length
  return isValid ? Math.min(Number(members[0]), maxSeconds) : maxSeconds
}
