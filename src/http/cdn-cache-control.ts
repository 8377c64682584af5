import { parseDictionary } from 'structured-headers'
import type { CacheControl } from './cache-control.ts'
import { parseCacheControl } from './cache-control.ts'
import { longestListField } from './field-limit.ts'

/** A targeted field: it replaces `Cache-Control`, unless one of its directives has a value of the wrong type. */
interface Targeted {
  readonly control: CacheControl
  /** the directives that restrict, as a `Cache-Control` value, to be added to `Cache-Control`; undefined if all types are right */
  readonly restrictions: string | undefined
}

/** Types of the directives' values (RFC 9213 section 2.1). `scope`: a Boolean, or a String of header names. */
const types: Readonly<Record<string, 'seconds' | 'flag' | 'scope'>> = {
  'max-age': 'seconds',
  's-maxage': 'seconds',
  'stale-while-revalidate': 'seconds',
  'stale-if-error': 'seconds',
  'must-revalidate': 'flag',
  'must-understand': 'flag',
  'no-store': 'flag',
  'no-transform': 'flag',
  'proxy-revalidate': 'flag',
  public: 'flag',
  'no-cache': 'scope',
  private: 'scope'
}

const restricting = new Set(['must-revalidate', 'no-cache', 'no-store', 'no-transform', 'private', 'proxy-revalidate'])

/**
 * Parses `CDN-Cache-Control` (RFC 9213): a structured-fields dictionary with the directives of `Cache-Control`.
 *
 * A directive whose value has the wrong type permits nothing: then `Cache-Control` counts, and what the field forbids besides.
 *
 * @returns undefined if the header is missing, empty or invalid: then `Cache-Control` is used (section 2.2)
 */
export function parseTargeted (value: string | number | readonly string[] | undefined): Targeted | undefined {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text.length > longestListField) return { control: parseCacheControl(text), restrictions: undefined } // the strictest policy: falling back to Cache-Control could permit more
  if (text.trim() === '') return undefined
  try {
    const members = [...parseDictionary(text)]
    if (members.length === 0) return undefined
    const areTyped = members.every(([name, [item]]) => isOfType(name, item)) && !hasDecimal(text)
    const written = members.map(([name, [item]]) => write(name, item))
    const restrictions = areTyped ? undefined : members.map(([name]) => name).filter((name) => restricting.has(name)).join(',')
    return { control: parseCacheControl(written.join(',')), restrictions }
  } catch {
    return undefined // not a dictionary: ignored
  }
}

/** A directive that is not listed says nothing to this cache, whatever its value is. */
function isOfType (name: string, item: unknown): boolean {
  const type = types[name]
  if (type === 'seconds') return typeof item === 'number'
  if (type === 'flag') return item === true
  return type === undefined || item === true || typeof item === 'string'
}

/** The parser returns integers and decimals alike. */
function hasDecimal (text: string): boolean {
  return /(?:max-age|s-maxage|stale-while-revalidate|stale-if-error)=-?\d+\./.test(text)
}

function write (name: string, item: unknown): string {
  return item === true ? name : `${name}=${typeof item === 'number' ? item : JSON.stringify(String(item))}`
}
