import { parseDictionary } from 'structured-headers'
import type { Dictionary } from 'structured-headers'
import { longestListField } from './field-limit.ts'

/** Characters: about the longest URL that all browsers and servers support. */
const longestQuery = 2048

/** The query parameters on which a response depends, if that is not the whole query. */
export interface SearchVariance {
  /** `but`: all parameters except `names`; `only`: only `names` */
  readonly by: 'but' | 'only'
  readonly names: ReadonlySet<string>
  readonly isOrdered: boolean
}

/**
 * Parses `No-Vary-Search` (draft-ietf-httpbis-no-vary-search, "Parsing"). Strict: a value that is not understood only costs cache hits.
 *
 * @returns undefined if the whole query is part of the key
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
 * Normalizes a query, so that equivalent queries are equal ("Comparing"): the relevant parameters, decoded, sorted if their order is irrelevant.
 *
 * A long query is returned unchanged: it is equivalent only to itself, which costs a cache hit at most.
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

/** "Parse a key": decodes a name as a query decoder does. */
function decoded (name: string): string {
  // The form decoder ends a name at `&` and `=`; in this list they are part of the name.
  const [[text = ''] = []] = new URLSearchParams(`?${name.replaceAll('&', '%26').replaceAll('=', '%3D')}`)
  return text
}
