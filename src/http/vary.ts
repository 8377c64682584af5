import { longestListField } from './field-limit.ts'

/**
 * Reads `Vary` (RFC 9110 section 12.5.5).
 *
 * @returns names in lower case, each once, in order; `*` when any member is one, or is no name, or the field is longer than {@link longestListField}
 */
export function parseVary (value: string | number | readonly string[] | undefined): readonly string[] | '*' {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text.length > longestListField) return '*'
  const names = text.split(',').map((name) => name.trim().toLowerCase()).filter((name) => name !== '')
  if (names.some((name) => name === '*' || !/^[!#$%&'*+\-.^_`|~\w]+$/.test(name))) return '*'
  return [...new Set(names)].sort()
}

/**
 * Brings a field's value into the form that selecting compares (RFC 9111 section 4.1): lines joined, spaces around commas gone;
 * fields whose values ignore case, in lower case.
 */
export function normaliseField (name: string, value: string | readonly string[]): string {
  const given = typeof value === 'string' ? value : value.join(',')
  if (given.length > longestListField) return given // equal to itself alone
  const text = given.split(',').map((member) => member.trim()).filter((member) => member !== '').join(',')
  return caseless.has(name) ? text.toLowerCase().split(';').map((part) => part.trim()).join(';') : text
}

const caseless = new Set(['accept', 'accept-charset', 'accept-encoding', 'accept-language'])
