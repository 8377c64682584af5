import { parseDictionary } from 'structured-headers'
import type { Dictionary } from 'structured-headers'
import { longestListField } from './field-limit.ts'

/** Characters; browsers and servers agree on little more for a whole URL. */
const longestQuery = 2048

/** By which of its query's parameters an answer varies, where that is not by the whole query as it stands. */
export interface SearchVariance {
  /** `but`: by all but these; `only`: by these alone */
  readonly by: 'but' | 'only'
  readonly names: ReadonlySet<string>
  readonly isOrdered: boolean
}

/**
 * Reads `No-Vary-Search` (draft-ietf-httpbis-no-vary-search, "Parsing"): strict, for what is not understood only costs hits.
 *
 * @returns undefined where the whole query counts as it stands
 */
export function parseNoVarySearch (value: string | number | readonly string[] | undefined): SearchVariance | undefined {
  const text = typeof value === 'object' ? value.join(',') : String(value ?? '')
  if (text.length > longestListField || text.trim() === '') return undefined
  try {
    return varianceOf(parseDictionary(text))
  } catch {
    return undefined // not a dictionary
  }
}

/**
 * Brings a query into the one form of all that are equivalent to it ("Comparing"): what is left, decoded, and in one order where order does not count.
 *
 * A long query stays as it came: it is equivalent to itself alone, which costs a hit at most.
 *
 * @param query with or without its question mark
 */
export function simplifySearch (query: string, { by, names, isOrdered }: SearchVariance): string {
  if (query.length > longestQuery) return query
  const pairs = [...new URLSearchParams(query)].filter(([name]) => names.has(name) === (by === 'only'))
  if (!isOrdered) pairs.sort(([one], [other]) => one < other ? -1 : one > other ? 1 : 0)
  return new URLSearchParams(pairs).toString()
}

function varianceOf (fields: Dictionary): SearchVariance | undefined {
  const order = fields.get('key-order')?.[0] ?? false
  const params = fields.get('params')?.[0] ?? false
  const except = fields.get('except')?.[0]
  if (typeof order !== 'boolean') return undefined
  if (except !== undefined) {
    const names = params === true ? namesIn(except) : undefined
    return names && { by: 'only', names, isOrdered: !order }
  }
  const names = typeof params === 'boolean' ? new Set<string>() : namesIn(params)
  if (names === undefined || (params !== true && names.size === 0 && !order)) return undefined
  return { by: params === true ? 'only' : 'but', names, isOrdered: !order }
}

/** Names in an inner list of strings; undefined for anything else. */
function namesIn (list: unknown): ReadonlySet<string> | undefined {
  if (!Array.isArray(list)) return undefined
  const names = list.map(([item]: unknown[]) => item)
  return names.every((name) => typeof name === 'string') ? new Set(names.map(decoded)) : undefined
}

/** "Parse a key": as a name in a query is decoded. */
function decoded (name: string): string {
  // A form's decoder ends a name at these two; in a list they are part of it.
  const [[text = ''] = []] = new URLSearchParams(`?${name.replaceAll('&', '%26').replaceAll('=', '%3D')}`)
  return text
}
