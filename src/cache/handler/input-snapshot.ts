import type { RoutePolicy } from '../options.ts'

/** A request's query and parameters. */
export interface Inputs {
  readonly query: Readonly<Record<string, unknown>>
  readonly params: Readonly<Record<string, unknown>>
}

/** The options of a route that affect the comparison. */
type ComparisonPolicy = Pick<RoutePolicy, 'defaults' | 'query'>

/** Copies a request's query and parameters deeply, because a hook may mutate them. */
export function snapshotInputs ({ query, params }: { query: unknown, params: unknown }): Inputs {
  return { query: copyOf(query), params: copyOf(params) }
}

function copyOf (record: unknown): Record<string, unknown> {
  const copy = { ...record as Record<string, unknown> }
  for (const name in copy) if (isRecord(copy[name])) copy[name] = copyOf(copy[name])
  return copy
}

/**
 * The first query parameter or path parameter that a hook added, changed or removed: the cache key contains the original value.
 * Defaults and type coercion by a schema do not count, nor does the removal of query parameters that the route does not list.
 *
 * @returns its name; undefined if there is none
 */
export function changedIn (before: Inputs, { query, params }: { query: unknown, params: unknown }, policy: ComparisonPolicy): string | undefined {
  return changedPart('query', before.query, query, policy) ?? changedPart('params', before.params, params)
}

function changedPart (part: keyof Inputs, before: Inputs['query'], record: unknown, policy?: ComparisonPolicy): string | undefined {
  const now = (record ?? {}) as Record<string, unknown>
  for (const name in now) {
    if (!isSame(before[name] ?? policy?.defaults.get(name), now[name])) return `request.${part}.${name}`
  }
  // Report no names of removed parameters: clients choose them and could flood the log.
  for (const name in before) if (!(name in now) && policy?.query?.has(name) !== false) return `request.${part}`
  return undefined
}

function isSame (received: unknown, value: unknown): boolean {
  if (received === value) return true
  if (typeof received !== 'string') return isRecord(received) && isRecord(value) && isSameRecord(received, value)
  if (typeof value === 'number') return Number(received) === value
  if (typeof value === 'boolean') return received === String(value)
  if (Array.isArray(value)) return value.length === 1 && isSame(received, value[0])
  return value === null && received === ''
}

function isSameRecord (received: Record<string, unknown>, value: Record<string, unknown>): boolean {
  const names = Object.keys(value)
  return names.length === Object.keys(received).length && names.every((name) => isSame(received[name], value[name]))
}

/** Includes arrays, as records of their indices. */
function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
