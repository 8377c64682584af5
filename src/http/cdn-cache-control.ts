import { parseDictionary } from 'structured-headers'
import type { CacheControl } from './cache-control.ts'
import { parseCacheControl } from './cache-control.ts'
import { longestListField } from './field-limit.ts'

/**
 * Parses `CDN-Cache-Control` (RFC 9213): a structured-fields dictionary with the directives of `Cache-Control`.
 *
 * @returns undefined if the header is missing, empty or invalid: then `Cache-Control` is used (section 2.2)
 */
export function parseTargeted (value: string | number | readonly string[] | undefined): CacheControl | undefined {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text.length > longestListField) return parseCacheControl(text) // the strictest policy: falling back to Cache-Control could permit more
  if (text.trim() === '') return undefined
  try {
    const members = [...parseDictionary(text)].map(([name, [item]]) => item === true ? name : `${name}=${typeof item === 'number' ? item : JSON.stringify(String(item))}`)
    return members.length === 0 ? undefined : parseCacheControl(members.join(','))
  } catch {
    return undefined // not a dictionary: ignored
  }
}
