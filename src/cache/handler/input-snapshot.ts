import { types } from 'node:util'
import type { CacheRequest } from '../http-message.ts'
import { copyOf, copyRecord, hasValidator, isRecord, isSame, validate } from './validated-inputs.ts'
import type { Input } from './validated-inputs.ts'

/** A request's query and parameters as received. */
export interface Inputs {
  readonly query: Input
  readonly params: Input
}

/** Copies a request's query and parameters deeply, because a hook may mutate them. */
export function snapshotInputs ({ query, params }: { query: unknown, params: unknown }): Inputs {
  return { query: copyRecord(query as Input), params: copyRecord(params as Input) }
}

/**
 * The first query parameter or path parameter that a hook added, changed or removed: the cache key contains the original value.
 * What validation makes of the original does not count, nor do query parameters that the route does not list.
 *
 * @param listed the query parameters that the route lists; undefined: all
 * @returns its name; undefined if there is none
 */
export function changedIn (before: Inputs, request: CacheRequest, listed: ReadonlySet<string> | undefined): string | undefined {
  return changedPart('query', before.query, request, listed) ?? changedPart('params', before.params, request)
}

function changedPart (part: keyof Inputs, before: Input, request: CacheRequest, listed?: ReadonlySet<string>): string | undefined {
  const now = (request[part] ?? {}) as unknown
  // A proxy may show a different value at each read.
  if (types.isProxy(now)) return `request.${part}`
  const expected = hasValidator(request, part) ? validatedOf(request, part, before) : before
  if (!isRecord(expected) || !isRecord(now)) return isSame(expected, now) ? undefined : `request.${part}`
  const isUnlisted = (name: string) => listed?.has(name) === false && name in before
  // Symbols and properties that are not listed are those of hooks.
  for (const name of Reflect.ownKeys(now) as string[]) {
    if (!(name in expected && (isUnlisted(name) || isSame(expected[name], now[name])))) return `request.${part}.${String(name)}`
  }
  // Report no names of removed parameters: clients choose them and could flood the log.
  for (const name in expected) if (!(name in now) && !isUnlisted(name)) return `request.${part}`
  return undefined
}

function validatedOf (request: CacheRequest, part: keyof Inputs, before: Input): unknown {
  const validated = validate(request, part, copyOf(before))
  return validated === undefined ? before : validated.value ?? {}
}
