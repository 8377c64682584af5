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
 * Normalizes a header's value for the comparison of selecting headers, in ways that its specification defines as insignificant (RFC 9111 section 4.1):
 * spaces, empty members, and the case of languages, codings and media types. The values of all other headers, and values with quoted strings, are
 * compared as they are.
 */
export function normaliseField (name: string, value: string | readonly string[]): string {
  // Validation of headers converts values to numbers and booleans.
  const text = Array.isArray(value) ? value.join(', ') : String(value)
  // A value that is longer, or not a plain list, is equal only to itself.
  if (!lists.has(name) || text.length > longestListField || text.includes('"')) return text
  const members = text.split(',').map((member) => member.trim()).filter((member) => member !== '')
  return members.map(name === 'accept' ? normaliseMediaRange : normaliseMember).join(',')
}

/** Lists of members without quoted strings, RFC 9110 section 12.5. */
const lists = new Set(['accept', 'accept-charset', 'accept-encoding', 'accept-language'])

function normaliseMember (member: string): string {
  return member.toLowerCase().split(';').map((part) => part.trim()).join(';')
}

/** The values of a media type's parameters may be case-sensitive (RFC 9110 section 8.3.1). */
function normaliseMediaRange (member: string): string {
  const [type = '', ...parameters] = member.split(';').map((part) => part.trim())
  return [type.toLowerCase(), ...parameters.map((parameter) => parameter.replace(/^[^=]*/, (name) => name.toLowerCase()))].join(';')
}
