import { parseDictionary } from 'structured-headers'
import type { CacheControl } from './cache-control.ts'
import { parseCacheControl } from './cache-control.ts'
import { longestListField } from './field-limit.ts'

/**
 * Reads `CDN-Cache-Control` (RFC 9213): a dictionary of structured fields with the directives of `Cache-Control`.
 *
 * @returns undefined where there is none, or it is empty or broken: then `Cache-Control` counts (section 2.2)
 */
export function parseTargeted (value: string | number | readonly string[] | undefined): CacheControl | undefined {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text.length > longestListField) return parseCacheControl(text) // restricts, where falling back to Cache-Control could permit
  if (text.trim() === '') return undefined
  try {
    const members = [...parseDictionary(text)].map(([name, [item]]) => item === true ? name : `${name}=${typeof item === 'number' ? item : JSON.stringify(String(item))}`)
    return members.length === 0 ? undefined : parseCacheControl(members.join(','))
  } catch {
    return undefined // not a dictionary: as if it were not there
  }
}
