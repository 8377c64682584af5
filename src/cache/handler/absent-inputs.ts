import type { CacheReply, CacheRequest } from '../http-message.ts'

/** Request header that `reply.compress()` of @fastify/compress reads, and that clients hardly ever send. */
export const noCompressionHeader = 'x-no-compression'

export function hasNoCompression ({ raw }: Pick<CacheRequest, 'raw'>): boolean {
  return raw.headers[noCompressionHeader] !== undefined
}

/** Whether hooks have left nothing in a reply's `locals`, which `reply.view()` of @fastify/view adds to the data of each page. */
export function isUnset (locals: unknown): boolean {
  if (locals == null) return true
  if (typeof locals !== 'object') return false
  const prototype = Object.getPrototypeOf(locals) as unknown
  return (prototype === Object.prototype || prototype === null) && Reflect.ownKeys(locals).length === 0
}

/** Whether the objects of a prototype inherit `locals`. */
const inheritsLocals = new WeakMap<object, boolean>()

function hasLocals (reply: object & { readonly locals?: unknown }): boolean {
  if (Object.hasOwn(reply, 'locals')) return !isUnset(reply.locals)
  const prototype = Object.getPrototypeOf(reply) as object
  let isInherited = inheritsLocals.get(prototype)
  if (isInherited === undefined) inheritsLocals.set(prototype, isInherited = 'locals' in reply)
  return isInherited && !isUnset(reply.locals)
}

/**
 * Helpers that most handlers with pages call look for inputs that most requests do not have. Their absence is part of the cache key, so that a handler
 * that finds none has read no unkeyed input, and a request that has one is not served what was made without.
 *
 * @returns the part of the key: '' for a request that has none
 */
export function presentInputs (request: CacheRequest, reply: CacheReply | undefined): string {
  const compression = hasNoCompression(request) ? 'x-no-compression;' : ''
  return reply !== undefined && hasLocals(reply) ? `${compression}locals;` : compression
}
