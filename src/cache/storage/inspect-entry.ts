import type { Entry } from './entry-codec.ts'
import { ageSeconds, freshLeftMs } from '../freshness.ts'

/** The stored response of one URL for an operator: without body and credentials. */
export type EntryInspection =
  | { readonly found: 'uncached' | 'apart' | 'nothing' | 'unavailable', readonly route: string | null }
  | {
    readonly found: 'fresh' | 'stale'
    readonly route: string
    readonly status: number
    readonly ageSeconds: number
    /** negative if stale */
    readonly freshSeconds: number
    readonly tags: readonly string[]
    readonly fields: readonly (readonly [name: string, value: string])[]
    readonly bodyBytes: number
    /** how the body is stored: `identity`, `gzip`, `br` */
    readonly coding: string
  }

/** @param now milliseconds since 1970 */
export function inspectEntry (entry: Entry, now: number) {
  const freshSeconds = Math.floor(freshLeftMs(entry, now) / 1000)
  return {
    found: freshSeconds > 0 ? 'fresh' as const : 'stale' as const,
    status: entry.status,
    ageSeconds: ageSeconds(entry, now),
    freshSeconds,
    tags: entry.tags,
    fields: entry.fields.map(([name, value]) => [name, isSecret(name) ? '[not shown]' : value] as const),
    bodyBytes: entry.body.length,
    coding: entry.coding
  }
}

function isSecret (name: string): boolean {
  return /cookie|auth|token|secret|password|api-?key|session/.test(name)
}
