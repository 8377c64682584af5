import { longestListField } from './field-limit.ts'

/**
 * Parses `Vary` (RFC 9110 section 12.5.5).
 *
 * @returns names in lower case, unique and sorted; `*` if a member is `*` or invalid, or the header is longer than {@link longestListField}
 */
export function parseVary (value: string | number | readonly string[] | undefined): readonly string[] | '*' {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text.length > longestListField) return '*'
  const names = text.split(',').map((name) => name.trim().toLowerCase()).filter((name) => name !== '')
  if (names.some((name) => name === '*' || !/^[!#$%&'*+\-.^_`|~\w]+$/.test(name))) return '*'
  return [...new Set(names)].sort()
}

/**
 * Normalizes a header's value for the comparison of selecting headers (RFC 9111 section 4.1): joins lines, removes spaces around commas, and converts
 * case-insensitive values to lower case.
 */
export function normaliseField (name: string, value: string | readonly string[]): string {
  const given = typeof value === 'string' ? value : value.join(',')
  if (given.length > longestListField) return given // equal only to itself
  const text = given.split(',').map((member) => member.trim()).filter((member) => member !== '').join(',')
  return caseInsensitive.has(name) ? text.toLowerCase().split(';').map((part) => part.trim()).join(';') : text
}

const caseInsensitive = new Set(['accept', 'accept-charset', 'accept-encoding', 'accept-language'])
