import { parseList } from 'structured-headers'
import { longestListField } from './field-limit.ts'

/**
 * Parses `Cache-Groups` or `Cache-Group-Invalidation` (RFC 9875): a list of strings. Returns an empty list for an invalid header and for one longer
 * than {@link longestListField}; RFC 9875 section 2.1 requires support for 32 groups of 32 characters.
 */
export function parseGroups (value: string | number | readonly string[] | undefined): readonly string[] {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text === '' || text.length > longestListField) return []
  try {
    return parseList(text).map(([item]) => item).filter((item) => typeof item === 'string')
  } catch {
    return []
  }
}
