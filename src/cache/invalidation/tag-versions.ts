import type { Batch } from '../../redis/batch/batch.ts'
import type { ReplyListener } from '../../redis/batch/pending-reply.ts'
import type { Keys } from '../../redis/keys.ts'
import { TwoGenerationLru } from '../../shared/lru.ts'

/** Sequence of a tag's last hard purge; null if the key is missing, so that the last purge is unknown. */
export type TagVersion = number | null

/** A listener of {@link TagVersionRead}. */
interface Waiting {
  onReplyPart (): void
}

/** One read of a tag version, shared by all lookups of a batch. */
export class TagVersionRead implements ReplyListener<Buffer | null> {
  /** undefined while pending or if the read failed */
  version: TagVersion | undefined
  /** sequence of the last soft purge; 0 for none */
  soft = 0
  isSettled = false
  #first: Waiting | undefined
  /** undefined while there is one at most */
  #others: Waiting[] | undefined

  onReply (text: Buffer | null): void {
    if (text === null) this.version = null
    else this.#parse(text.toString('latin1'))
    this.#settle()
  }

  /** The read has failed. */
  onError (): void {
    this.#settle()
  }

  #settle (): void {
    this.isSettled = true
    this.#first?.onReplyPart()
    if (this.#others !== undefined) for (const each of this.#others) each.onReplyPart()
  }

  /** Calls the listener when the read has settled. */
  tell (waiting: Waiting): void {
    if (this.#first === undefined) this.#first = waiting
    else (this.#others ??= []).push(waiting)
  }

  /** Resolves when the read has settled. */
  settled (): Promise<this> {
    return new Promise((resolve) => {
      if (this.isSettled) resolve(this)
      else this.tell({ onReplyPart: () => resolve(this) })
    })
  }

  /** An invalid value counts as Infinity: no entry with the tag is usable. */
  #parse (text: string): void {
    const sequence = Number(text)
    if (sequence > 0) {
      this.version = sequence
      return
    }
    const [, hard, soft] = /^(\d+) (\d+)$/.exec(text) ?? []
    this.soft = Number(soft ?? 0)
    this.version = Number(hard ?? Infinity)
  }
}

const rememberedTags = 1000
const longestRemembered = 300

/** Reads tag versions, each at most once a tick. */
export class TagVersions {
  readonly #batch: Batch
  readonly #keys: Keys
  /** a new Map each tick: in V8, a cleared Map keeps its old table, and what that references, alive */
  #reads = new Map<string, TagVersionRead>()
  #tick = -1
  /** of the tags that were read last: to encode a tag and hash its key costs as much as the rest of its read */
  readonly #keysByTag = new TwoGenerationLru<string, string>(rememberedTags)

  constructor (batch: Batch, keys: Keys) {
    this.#batch = batch
    this.#keys = keys
  }

  /** Reads a tag version with the current batch. */
  read (tag: string): TagVersionRead {
    if (this.#tick !== this.#batch.tick) {
      this.#tick = this.#batch.tick
      this.#reads = new Map()
    }
    const before = this.#reads.get(tag)
    if (before !== undefined) return before
    const read = new TagVersionRead()
    this.#reads.set(tag, read)
    this.#batch.enqueueGet(this.#keyOf(tag)).subscribe(read)
    return read
  }

  #keyOf (tag: string): string {
    const known = this.#keysByTag.get(tag)
    if (known !== undefined) return known
    const key = this.#keys.cacheTag(tag)
    if (tag.length <= longestRemembered) this.#keysByTag.set(tag, key)
    return key
  }
}
