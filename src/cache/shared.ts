import type { Counts } from './counts.ts'
import type { Entry } from './entry.ts'
import type { Entrance } from './fill/entrance.ts'
import type { Fills } from './fill/fill.ts'
import type { Reservations } from './fill/reservations.ts'
import type { Refreshes } from './refresh.ts'
import type { CacheStore } from './store.ts'

/** What cached routes of one app share. */
export interface Shared {
  readonly store: CacheStore
  readonly fills: Fills<Entry>
  readonly entrance: Entrance
  readonly refreshes: Refreshes
  readonly reservations: Reservations
  readonly counts: Counts
  /** patterns of routes that answer unsafe methods: what they write, a cached route of the same pattern may show */
  readonly writers: ReadonlySet<string>
  /** patterns of routes whose answers decide themselves: only these may stand for several queries of their path */
  readonly proxies: ReadonlySet<string>
  readonly warn: (facts: object, text: string) => void
}
