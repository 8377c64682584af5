import type { PendingReply, ReplyListener } from '../../redis/batch/pending-reply.ts'
import type { EpochRead } from '../invalidation/server-epoch.ts'
import type { TagVersion, TagVersionRead } from '../invalidation/tag-versions.ts'

/** What every stored thing says of itself. */
export interface StoredMeta {
  readonly sequence: number
  readonly tags: readonly string[]
  /** where it may be served stale: milliseconds since 1970, and how long it is fresh from then on */
  readonly bornAt?: number
  readonly freshMs?: number
}

/** How keys are read. */
export interface VersionReader {
  /** reads one string of Redis; whoever asks in the same tick shares a round trip */
  read: (key: string) => PendingReply<Buffer | null>
  /** the batch's that reads leave with now */
  tick: () => number
  /** reads a tag's marker, once a tick for all who look */
  tagVersion: (tag: string) => TagVersionRead
  /** reads the global marker, once a tick for all who look */
  epoch: () => EpochRead
  /** what that tells; null when nobody knows */
  sinceOf: (epoch: EpochRead) => TagVersion
  /** told of each entry that is looked for */
  asked: (name: string) => void
}

/** What was stored instead of an entry: where the entry stands, for this request. */
export interface VariantPointer<Entry> {
  readonly name: string
  readonly unpack: (packed: Buffer) => Entry | undefined
}

/** What a stored value turned out to be; undefined for what is no entry of this key. */
export type Unpacked<Entry> = Entry | VariantPointer<Entry> | undefined

/** How one look into the store ended. */
export type Found<Entry> =
  | { readonly outcome: 'found', readonly entry: Entry }
  | { readonly outcome: 'none' }
  | { readonly outcome: 'unavailable' }

const nothingSeen = Buffer.alloc(0)
const nothing: Found<never> = Object.freeze({ outcome: 'none' })
const unavailable: Found<never> = Object.freeze({ outcome: 'unavailable' })

/**
 * One look into the store, under way: the entry and the markers of the tags that it is expected to bear, read together.
 *
 * It settles once, and never rejects; what has settled is answered without waiting for another turn of the event loop.
 */
export class Lookup<Entry extends StoredMeta> implements ReplyListener<Buffer | null> {
  /** of the batch that its last reads left with */
  tick = -1
  #unpack: (packed: Buffer) => Unpacked<Entry>
  /** the entry's key */
  readonly name: string
  /** those that the entry is expected to bear */
  readonly tags: readonly string[]
  /** those whose markers are read: the expected ones, then what the entry bears besides */
  #versions: readonly string[]
  /** the markers of those, in their order */
  readonly #readings: TagVersionRead[] = []
  readonly #epoch: EpochRead
  #since: TagVersion = null
  readonly #reader: VersionReader
  #pointer: VariantPointer<Entry> | undefined
  #packed: Buffer | null = null
  #seen: Buffer | null = null
  #guess: string | undefined
  #guessed: Buffer | null = null
  #open: number
  #isAway = false
  #found: Found<Entry> | undefined
  #wake: (() => void) | undefined

  /**
   * @param unpack undefined for what is no entry of this key
   * @param guess where a pointer under this key may lead: read ahead, and used only where it leads there
   */
  constructor (name: string, tags: readonly string[], reader: VersionReader, unpack: (packed: Buffer) => Unpacked<Entry>, guess?: string) {
    this.name = name
    this.tags = tags
    this.#unpack = unpack
    this.#reader = reader
    this.#epoch = reader.epoch()
    this.#guess = guess
    this.#open = (guess === undefined ? 1 : 2) + tags.length
    this.#readEntry(name)
    if (guess !== undefined) {
      reader.asked(guess)
      reader.read(guess).subscribe({ onReply: (packed) => { this.#guessed = packed; this.onReplyPart() }, onError: () => this.onError() })
    }
    this.#versions = tags
    for (const tag of tags) this.#readTagVersion(tag)
  }

  /** What was found; undefined while it is under way. */
  get found (): Found<Entry> | undefined {
    return this.#found
  }

  /** Whether the answer was looked for where one like it stood before, apart from others under this name. */
  get isGuessed (): boolean {
    return this.#guess !== undefined
  }

  /** Whether the answers under this name are told apart by request fields: one is missing, others may be there. */
  get hasVariants (): boolean {
    return this.#pointer !== undefined
  }

  /** Waits until it is settled. */
  settled (): Promise<Found<Entry>> {
    return new Promise((resolve) => {
      if (this.#found !== undefined) resolve(this.#found)
      else this.#wake = () => resolve(this.#found ?? nothing)
    })
  }

  /**
   * The sequence that an answer must have been filled at, at least, to be given to whoever looked: no purge of its tags is younger.
   *
   * @returns undefined when a marker is missing, for then nobody knows
   */
  get minSequence (): number | undefined {
    return this.#readings.some(({ version }) => version == null) ? undefined : this.minSequenceKnown
  }

  /** The same as far as it is known, whatever the missing markers would tell; undefined when the global one is missing. */
  get minSequenceKnown (): number | undefined {
    if (this.#since === null) return undefined
    let required = Math.max(this.#since, this.#soft)
    for (const { version } of this.#readings) if (version != null && version > required) required = version
    return required
  }

  /** The first bytes of what stood under the name, none where nothing did: enough to tell whether something else stands there later. */
  get entryPrefix (): Buffer {
    return this.#seen?.subarray(0, 48) ?? nothingSeen
  }

  /** The tags whose markers are missing. */
  get tagsWithoutVersion (): readonly string[] {
    return this.#versions.filter((_tag, index) => this.#readings[index]?.version === null)
  }

  #readEntry (name: string): void {
    this.tick = this.#reader.tick()
    this.#reader.asked(name)
    this.#reader.read(name).subscribe(this)
  }

  #readTagVersion (tag: string): void {
    this.tick = this.#reader.tick()
    const reading = this.#reader.tagVersion(tag)
    this.#readings.push(reading)
    reading.tell(this)
  }

  /** The youngest soft purge of any of the tags. */
  get #soft (): number {
    let youngest = 0
    for (const { soft } of this.#readings) if (soft > youngest) youngest = soft
    return youngest
  }

  /** What stands under its name is here. */
  onReply (packed: Buffer | null): void {
    this.#packed = packed
    this.onReplyPart()
  }

  /** Something of what it reads will never be here. */
  onError (): void {
    this.#isAway = true
    this.onReplyPart()
  }

  /** One of the things that were read is there. */
  onReplyPart (): void {
    if (--this.#open > 0) return
    if (!this.#epoch.isSettled) return this.#epoch.onSettled(() => { this.#open = 1; this.onReplyPart() })
    const found = this.#finish()
    if (found === undefined) return
    this.#found = found
    this.#packed = this.#guessed = null
    this.#wake?.()
  }

  /** @returns undefined when the entry bears tags that were not expected, whose markers are read first */
  #finish (): Found<Entry> | undefined {
    if (this.#isAway || this.#epoch.value === undefined || this.#readings.some(({ version }) => version === undefined)) return unavailable
    this.#since = this.#reader.sinceOf(this.#epoch)
    if (this.#pointer === undefined) this.#seen = this.#packed
    const entry = this.#packed === null ? undefined : this.#unpack(this.#packed)
    if (entry === undefined) return nothing
    if ('unpack' in entry) return this.#follow(entry)
    const unread = entry.tags.filter((tag) => !this.#versions.includes(tag))
    if (unread.length === 0) return this.#judge(entry)
    this.#open = unread.length
    this.#versions = [...this.#versions, ...unread]
    for (const tag of unread) this.#readTagVersion(tag)
    return undefined
  }

  #follow (pointer: VariantPointer<Entry>): Found<Entry> | undefined {
    this.#pointer = pointer
    this.#unpack = pointer.unpack
    if (pointer.name === this.#guess) {
      this.#packed = this.#guessed
      return this.#finish()
    }
    this.#packed = null
    this.#open = 1
    this.#readEntry(pointer.name)
    return undefined
  }

  #judge (entry: Entry): Found<Entry> {
    if (this.#isPurged(entry)) return nothing
    const soft = this.#soft
    if (soft <= entry.sequence) return { outcome: 'found', entry }
    const stale = softened(entry, soft)
    return stale === undefined ? nothing : { outcome: 'found', entry: stale }
  }

  /** A marker that is missing tells nothing: the tag may have been purged and the marker evicted. */
  #isPurged (entry: Entry): boolean {
    if (this.#since === null || this.#since > entry.sequence) return true
    for (const { version } of this.#readings) {
      if (version != null && version > entry.sequence) return true
    }
    return this.#readings.some(({ version }, index) => version === null && entry.tags.includes(this.#versions[index] ?? ''))
  }
}

/**
 * What a soft purge leaves of an entry: it is stale since then, for a purge's sequence is Redis's clock in microseconds, or a little ahead of it.
 *
 * @returns undefined for what is never served stale
 */
function softened<Entry extends StoredMeta> (entry: Entry, soft: number): Entry | undefined {
  const { bornAt, freshMs } = entry
  if (bornAt === undefined || freshMs === undefined) return undefined
  return { ...entry, freshMs: Math.min(freshMs, Math.max(0, Math.min(soft / 1000, Date.now()) - bornAt)) }
}
