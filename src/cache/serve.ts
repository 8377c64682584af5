import { formatCacheStatus } from '../http/cache-status.ts'
import type { CacheStatus } from '../http/cache-status.ts'
import { matchesWeakly } from '../http/entity-tag.ts'
import type { Entry } from './entry.ts'
import type { Asking, Replying } from './message.ts'
import type { RoutePolicy } from './policy.ts'

/** Fields that a 304 carries, when the 200 would have (RFC 9110 section 15.4.5). */
const fieldsOf304 = new Set(['cache-control', 'content-location', 'date', 'etag', 'expires', 'vary'])

/** Whether an answer's client has it already: `If-None-Match` names it (RFC 9110 section 13.1.2). */
export function isKnown ({ method, headers }: Asking, status: number, entityTag: string | undefined): boolean {
  const condition = headers['if-none-match']
  if (condition === undefined || status !== 200 || (method !== 'GET' && method !== 'HEAD')) return false
  return matchesWeakly(String(condition), entityTag)
}

/** Answers from the store. */
export function serve (request: Asking, reply: Replying, entry: Entry, policy: Pick<RoutePolicy, 'browserSeconds'>, status: CacheStatus): unknown {
  const ageSeconds = ageOf(entry)
  const entityTag = entry.fields.find(([name]) => name === 'etag')?.[1]
  const isNotModified = isKnown(request, entry.status, entityTag)
  for (const [name, value] of entry.fields) {
    if (isNotModified && !fieldsOf304.has(name)) continue
    reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary'), value) : value)
  }
  if (policy.browserSeconds !== undefined) reply.header('cache-control', `max-age=${policy.browserSeconds + ageSeconds}`)
  // RFC 9111 section 5.1
  reply.header('age', String(ageSeconds))
  reply.header('cache-status', formatCacheStatus({ ...status, ttlSeconds: Math.floor((entry.bornAt + entry.freshMs - Date.now()) / 1000) }))
  if (isNotModified) return reply.code(304) && reply.send()
  reply.code(entry.status)
  return reply.send(entry.body)
}

/** Whole seconds since an answer was made, RFC 9111 section 4.2.3. */
export function ageOf ({ bornAt }: Pick<Entry, 'bornAt'>): number {
  return Math.max(0, Math.floor((Date.now() - bornAt) / 1000))
}

/** Joins the members of a list field; what stands there already stays first, and nothing stands twice. */
export function joinFields (before: number | string | readonly string[] | undefined, added: string): string {
  if (before === undefined) return added
  const members = `${String(before)},${added}`.split(',').map((member) => member.trim()).filter((member) => member !== '')
  const seen = new Set<string>()
  return members.filter((member) => !seen.has(member.toLowerCase()) && seen.add(member.toLowerCase())).join(', ')
}
