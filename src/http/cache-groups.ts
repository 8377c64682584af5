import { parseList } from 'structured-headers'

/**
 * Reads `Cache-Groups` or `Cache-Group-Invalidation` (RFC 9875): a list of strings. What is no such list names no group.
 */
export function parseGroups (value: string | number | readonly string[] | undefined): readonly string[] {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text === '') return []
  try {
    return parseList(text).map(([item]) => item).filter((item) => typeof item === 'string')
  } catch {
    return []
  }
}
