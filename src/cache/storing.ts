import { parseCacheControl } from '../http/cache-control.ts'
import type { RoutePolicy } from './policy.ts'

/** Field values as replies bear them. */
export type Fields = Readonly<Record<string, number | string | readonly string[] | undefined>>

/** An answer that a handler made, to be judged. */
export interface Answer {
  readonly status: number
  /** those that the handler added, names in lower case */
  readonly fields: Fields
}

/** What was decided: to keep it, for so long; or why not, in one word. */
export type Judgement = { readonly freshMs: number } | { readonly refusal: string }

/** What may be kept for a route's own lifetime: final answers that are no errors. */
const keptStatuses = new Set([200, 203, 204, 300, 301, 302, 307, 308])

/** Whether an answer may be kept where the route decides how long. */
export function judge (answer: Answer, policy: RoutePolicy): Judgement {
  if (!keptStatuses.has(answer.status)) return { refusal: 'status' }
  if (answer.fields['set-cookie'] !== undefined) return { refusal: 'set-cookie' }
  const control = parseCacheControl(answer.fields['cache-control'] as string | string[] | undefined)
  if (control.noStore) return { refusal: 'no-store' }
  if (control.private !== false && policy.partition === undefined) return { refusal: 'private' }
  if (control.noCache !== false) return { refusal: 'no-cache' }
  if (String(answer.fields.vary ?? '').includes('*')) return { refusal: 'vary' }
  const explicit = control.sMaxage ?? control.maxAge
  const freshMs = Math.min(policy.ttlMs ?? 0, explicit === undefined ? Infinity : explicit * 1000)
  return freshMs > 0 ? { freshMs } : { refusal: 'ttl' }
}
