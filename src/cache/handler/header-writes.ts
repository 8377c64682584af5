import type { Fields } from '../freshness.ts'
import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/** The headers of a reply, as they are now: lists are copied, because Fastify and Node add later members to the same array. */
export function headersOf (reply: Pick<CacheReply, 'getHeaders'>): Fields {
  const fields = reply.getHeaders()
  for (const name in fields) if (Array.isArray(fields[name])) fields[name] = [...fields[name]]
  return fields
}

/**
 * Records the headers that the handler sets where hooks have set the same ones: a value that equals theirs is the handler's nevertheless, such as `no-store`
 * or `Vary: Origin`. Without headers of hooks nothing is to be told apart.
 */
export function recordHeaderWrites (run: HandlerRun, reply: CacheReply): void {
  const { before, restore } = run
  if (Object.keys(before).length === 0) return
  const { header } = reply
  const written = run.written = new Map<string, Fields[string]>()
  const headerRecorded = (name: string, value: string | string[] = '') => {
    const key = String(name).toLowerCase()
    if (before[key] !== undefined) written.set(key, key === 'set-cookie' ? [written.get(key) ?? [], value].flat().map(String) : value)
    return header.call(reply, name, value)
  }
  const stop = () => {
    // Assign instead of delete, as in `trackErrorReply`.
    reply.header = header
    restore?.()
  }
  reply.header = headerRecorded
  run.restore = stop
}

/** Gives headers the values that hooks had set before the handler, or none. */
export function restoreHeaders (reply: CacheReply, before: Fields, names: Iterable<string>): void {
  for (const name of names) {
    reply.removeHeader(name)
    const value = before[name]
    if (value !== undefined) reply.header(name, Array.isArray(value) ? value : String(value))
  }
}
