import type { Batch } from '../../redis/batch/batch.ts'
import type { Keys } from '../../redis/keys.ts'

/** When a tag was purged last: a sequence; null when nobody knows, for the marker is missing. */
export type TagVersion = number | null

/** Whoever waits for a reading. */
export interface Waiting {
  onReplyPart (): void
}

/** A tag's marker as one batch reads it, for all who look with that batch. */
export class TagVersionRead {
  /** undefined while it is under way, or when it could not be read */
  version: TagVersion | undefined
  /** when the tag was purged softly last; 0 for never */
  soft = 0
  isSettled = false
  readonly #waiting: Waiting[] = []

  /** @param text what stands there; undefined where it could not be read */
  settle (text: Buffer | null | undefined): void {
    if (text === null) this.version = null
    else if (text !== undefined) this.#heard(text.toString('latin1'))
    this.isSettled = true
    for (const each of this.#waiting) each.onReplyPart()
  }

  /** Whom to tell once it has settled. */
  tell (waiting: Waiting): void {
    this.#waiting.push(waiting)
  }

  /** Waits until it is. */
  settled (): Promise<this> {
    return new Promise((resolve) => {
      if (this.isSettled) resolve(this)
      else this.tell({ onReplyPart: () => resolve(this) })
    })
  }

  /** What cannot be read is a marker of a purge that never ends. */
  #heard (text: string): void {
    const sequence = Number(text)
    if (sequence > 0) {
      this.version = sequence
      return
    }
    const [, gone, soft] = /^(\d+) (\d+)$/.exec(text) ?? []
    this.soft = Number(soft ?? 0)
    this.version = Number(gone ?? Infinity)
  }
}

/** The markers of tags, each read once a tick, however many look. */
export class TagVersions {
  readonly #batch: Batch
  readonly #keys: Keys
  /** a Map a tick: one that is cleared leads from its old table to its new one, and in V8 what an old table held lives as long */
  #readings = new Map<string, TagVersionRead>()
  #tick = -1

  constructor (batch: Batch, keys: Keys) {
    this.#batch = batch
    this.#keys = keys
  }

  /** Reads a tag's marker with what leaves in this tick. */
  read (tag: string): TagVersionRead {
    if (this.#tick !== this.#batch.tick) {
      this.#tick = this.#batch.tick
      this.#readings = new Map()
    }
    const before = this.#readings.get(tag)
    if (before !== undefined) return before
    const reading = new TagVersionRead()
    this.#readings.set(tag, reading)
    this.#batch.enqueueGet(this.#keys.cacheTag(tag)).subscribe({ onReply: (text) => reading.settle(text), onError: () => reading.settle(undefined) })
    return reading
  }
}
