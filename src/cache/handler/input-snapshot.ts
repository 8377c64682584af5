import type { RoutePolicy } from '../options.ts'

/** A request's query and parameters. */
export interface Inputs {
  readonly query: Readonly<Record<string, unknown>>
  readonly params: Readonly<Record<string, unknown>>
}

/** What a route's choices have to do with it. */
type Allowing = Pick<RoutePolicy, 'defaults' | 'query'>

/** Takes down a request's query and parameters, lists and all: a hook may change them where they are. */
export function snapshotInputs ({ query, params }: { query: unknown, params: unknown }): Inputs {
  return { query: copyOf(query), params: copyOf(params) }
}

function copyOf (record: unknown): Record<string, unknown> {
  const copy = { ...record as Record<string, unknown> }
  for (const name in copy) if (isRecord(copy[name])) copy[name] = copyOf(copy[name])
  return copy
}

/**
 * What hooks have added to the query or the parameters, changed in them, or taken away: the key holds what came. A schema's defaults and coercions
 * are no such thing, nor that keys are gone which the route does not list.
 *
 * @returns the first of it; undefined when there is none
 */
export function changedIn (before: Inputs, { query, params }: { query: unknown, params: unknown }, policy: Allowing): string | undefined {
  return changedPart('query', before.query, query, policy) ?? changedPart('params', before.params, params)
}

function changedPart (part: keyof Inputs, before: Inputs['query'], record: unknown, policy?: Allowing): string | undefined {
  const now = (record ?? {}) as Record<string, unknown>
  for (const name in now) {
    if (!isSame(before[name] ?? policy?.defaults.get(name), now[name])) return `request.${part}.${name}`
  }
  // Anybody can think of names: the log shall not be full of them.
  for (const name in before) if (!(name in now) && policy?.query?.has(name) !== false) return `request.${part}`
  return undefined
}

function isSame (came: unknown, value: unknown): boolean {
  if (came === value) return true
  if (typeof came !== 'string') return isRecord(came) && isRecord(value) && isSameRecord(came, value)
  if (typeof value === 'number') return Number(came) === value
  if (typeof value === 'boolean') return came === String(value)
  if (Array.isArray(value)) return value.length === 1 && isSame(came, value[0])
  return value === null && came === ''
}

function isSameRecord (came: Record<string, unknown>, value: Record<string, unknown>): boolean {
  const names = Object.keys(value)
  return names.length === Object.keys(came).length && names.every((name) => isSame(came[name], value[name]))
}

/** A list is a record of its places. */
function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
