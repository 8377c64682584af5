import type { PendingReply, ReplyListener } from '../../redis/batch/pending-reply.ts'
import type { EpochRead } from '../invalidation/server-epoch.ts'
import type { TagVersion, TagVersionRead } from '../invalidation/tag-versions.ts'
import { wallMs } from '../../shared/clock.ts'

/** Metadata of every stored value. */
export interface StoredMeta {
  readonly sequence: number
  readonly tags: readonly string[]
  /** set if it may be served stale: generation time in milliseconds since 1970, and freshness from then on */
  readonly bornAt?: number
  readonly freshMs?: number
}

/** Reads keys, tag versions and the epoch. */
export interface VersionReader {
  /** reads one string; reads of one tick share a round trip */
  read: (key: string) => PendingReply<Buffer | null>
  /** reads the head of an entry */
  readHead: (key: string) => PendingReply<Buffer | null>
  /** tick of the current batch */
  tick: () => number
  /** reads a tag's version, once per tick */
  tagVersion: (tag: string) => TagVersionRead
  /** reads the server epoch, once per tick */
  epoch: () => EpochRead
  /** the version of an epoch read; null if unknown */
  epochOf: (epoch: EpochRead) => TagVersion
  /** called for each entry that is looked up */
  recordAccess: (name: string) => void
}

/** Stored instead of an entry: refers to the variant for this request. */
interface VariantPointer<Entry> {
  readonly name: string
  readonly unpack: (packed: Buffer) => Entry | undefined
}

/** Entries that this process has read before, and of which a lookup reads only the head. */
export interface KnownEntries<Entry> {
  has (name: string): boolean
  /** @returns undefined if another entry is stored now */
  find (name: string, head: Buffer): Entry | undefined
}

/** What a lookup can know before it reads. */
export interface LookupHints<Entry> {
  /** predicted target of a variant pointer: read ahead, and used only if the pointer refers to it */
  readonly guess?: string | undefined
  readonly known?: KnownEntries<Entry> | undefined
}

/** A decoded value; undefined if it is not an entry of this key. */
export type Unpacked<Entry> = Entry | VariantPointer<Entry> | undefined

/** Result of a lookup. */
export type LookupResult<Entry> =
  | { readonly outcome: 'found', readonly entry: Entry }
  | { readonly outcome: 'none' }
  | { readonly outcome: 'unavailable' }

const noValue = Buffer.alloc(0)
const noHints = Object.freeze({})
const nothing: LookupResult<never> = Object.freeze({ outcome: 'none' })
const unavailable: LookupResult<never> = Object.freeze({ outcome: 'unavailable' })

/**
 * One lookup: reads the entry and the versions of its expected tags in one round trip.
 *
 * It settles once and never rejects. A settled lookup is available synchronously through `found`.
 */
export class Lookup<Entry extends StoredMeta> implements ReplyListener<Buffer | null> {
  /** tick of the batch that carries its last reads */
  tick = -1
  #unpack: (packed: Buffer) => Unpacked<Entry>
  /** the entry's key */
  readonly name: string
  /** tags that the entry is expected to have */
  readonly tags: readonly string[]
  /** tags whose versions are read: the expected ones, then further tags of the entry */
  #versions: readonly string[]
  /** the version reads, in the same order */
  readonly #versionReads: TagVersionRead[] = []
  readonly #epoch: EpochRead
  #since: TagVersion = null
  readonly #reader: VersionReader
  #pointer: VariantPointer<Entry> | undefined
  #packed: Buffer | null = null
  #seen: Buffer | null = null
  #predictedVariant: string | undefined
  #predicted: Buffer | null = null
  readonly #known: KnownEntries<Entry> | undefined
  /** the key whose value `#packed` is, or is read */
  #readName: string
  /** only the head of that value was read */
  #isHead = false
  #isPredictedHead = false
  #open: number
  /** above the sequence of an entry that is unusable because a tag version of it was lost: a version that is created next must not make it usable */
  #aboveLost = 0
  #hasFailed = false
  #found: LookupResult<Entry> | undefined
  #wake: (() => void) | undefined

  /**
   * @param unpack returns undefined for a value that is not an entry of this key
   */
  constructor (name: string, tags: readonly string[], reader: VersionReader, unpack: (packed: Buffer) => Unpacked<Entry>, { guess, known }: LookupHints<Entry> = noHints) {
    this.name = name
    this.#readName = name
    this.tags = tags
    this.#unpack = unpack
    this.#reader = reader
    this.#epoch = reader.epoch()
    this.#predictedVariant = guess
    this.#known = known
    this.#open = (guess === undefined ? 1 : 2) + tags.length
    this.#readEntry(name)
    if (guess !== undefined) {
      reader.recordAccess(guess)
      this.#isPredictedHead = known?.has(guess) === true
      this.#read(guess, this.#isPredictedHead).subscribe({ onReply: (packed) => { this.#predicted = packed; this.onReplyPart() }, onError: () => this.onError() })
    }
    this.#versions = tags
    for (const tag of tags) this.#readTagVersion(tag)
  }

  /** The result; undefined until settled. */
  get found (): LookupResult<Entry> | undefined {
    return this.#found
  }

  /** Whether a predicted variant was read ahead. */
  get isGuessed (): boolean {
    return this.#predictedVariant !== undefined
  }

  /** Whether the key holds a Vary record: this variant is missing, others may exist. */
  get hasVariants (): boolean {
    return this.#pointer !== undefined
  }

  /** Waits until it is settled. */
  settled (): Promise<LookupResult<Entry>> {
    return new Promise((resolve) => {
      const wake = () => resolve(this.#found ?? nothing)
      if (this.#found !== undefined) wake()
      else this.#wake = wake
    })
  }

  /**
   * The lowest sequence at which a response may have been filled to be used for this lookup: no purge of its tags is newer.
   *
   * @returns undefined if a tag version is missing: the sequence is then unknown
   */
  get minSequence (): number | undefined {
    return this.#versionReads.some(({ version }) => version == null) ? undefined : this.minSequenceKnown
  }

  /** The same, ignoring missing tag versions; undefined if the epoch is missing. */
  get minSequenceKnown (): number | undefined {
    if (this.#since === null) return undefined
    let required = Math.max(this.#since, this.#soft, this.#aboveLost)
    for (const { version } of this.#versionReads) if (version != null && version > required) required = version
    return required
  }

  /** First 48 bytes of the stored value, empty if none: used to detect a concurrent write. */
  get entryPrefix (): Buffer {
    return this.#seen?.subarray(0, 48) ?? noValue
  }

  /** Tags whose version is missing. */
  get tagsWithoutVersion (): readonly string[] {
    return this.#versions.filter((_tag, index) => this.#versionReads[index]?.version === null)
  }

  #readEntry (name: string): void {
    this.tick = this.#reader.tick()
    this.#reader.recordAccess(name)
    this.#readName = name
    this.#isHead = this.#known?.has(name) === true
    this.#read(name, this.#isHead).subscribe(this)
  }

  #read (name: string, isHead: boolean): PendingReply<Buffer | null> {
    return isHead ? this.#reader.readHead(name) : this.#reader.read(name)
  }

  /** Another value is stored than the one that is known: reads it whole, which takes one more round trip. */
  #readWhole (): undefined {
    this.#isHead = false
    this.#packed = null
    this.#open = 1
    this.tick = this.#reader.tick()
    this.#reader.read(this.#readName).subscribe(this)
  }

  #readTagVersion (tag: string): void {
    this.tick = this.#reader.tick()
    const reading = this.#reader.tagVersion(tag)
    this.#versionReads.push(reading)
    reading.tell(this)
  }

  /** The latest soft purge of any of the tags. */
  get #soft (): number {
    let latest = 0
    for (const { soft } of this.#versionReads) if (soft > latest) latest = soft
    return latest
  }

  /** The stored value has arrived. */
  onReply (packed: Buffer | null): void {
    this.#packed = packed
    this.onReplyPart()
  }

  /** A read has failed. */
  onError (): void {
    this.#hasFailed = true
    this.onReplyPart()
  }

  /** One of the reads has completed. */
  onReplyPart (): void {
    if (--this.#open > 0) return
    if (!this.#epoch.isSettled) return this.#epoch.onSettled(() => { this.#open = 1; this.onReplyPart() })
    const found = this.#finish()
    if (found === undefined) return
    this.#found = found
    this.#packed = this.#predicted = null
    this.#wake?.()
  }

  /** @returns undefined if the entry has unexpected tags, whose versions are read first */
  #finish (): LookupResult<Entry> | undefined {
    if (this.#hasFailed || this.#epoch.value === undefined || this.#versionReads.some(({ version }) => version === undefined)) return unavailable
    this.#since = this.#reader.epochOf(this.#epoch)
    if (this.#pointer === undefined) this.#seen = this.#packed
    const known = this.#isHead && this.#packed !== null ? this.#known?.find(this.#readName, this.#packed) : undefined
    if (this.#isHead && known === undefined && this.#packed !== null) return this.#readWhole()
    const entry = known ?? (this.#packed === null ? undefined : this.#unpack(this.#packed))
    if (entry === undefined) return nothing
    if ('unpack' in entry) return this.#readVariant(entry)
    const unread = entry.tags.filter((tag) => !this.#versions.includes(tag))
    if (unread.length === 0) return this.#checkFreshness(entry)
    this.#open = unread.length
    this.#versions = [...this.#versions, ...unread]
    for (const tag of unread) this.#readTagVersion(tag)
    return undefined
  }

  #readVariant (pointer: VariantPointer<Entry>): LookupResult<Entry> | undefined {
    this.#pointer = pointer
    this.#unpack = pointer.unpack
    if (pointer.name === this.#predictedVariant) {
      this.#packed = this.#predicted
      this.#readName = pointer.name
      this.#isHead = this.#isPredictedHead
      return this.#finish()
    }
    this.#packed = null
    this.#open = 1
    this.#readEntry(pointer.name)
    return undefined
  }

  #checkFreshness (entry: Entry): LookupResult<Entry> {
    if (this.#isPurged(entry)) return nothing
    const soft = this.#soft
    if (soft <= entry.sequence) return { outcome: 'found', entry }
    const stale = softened(entry, soft)
    return stale === undefined ? nothing : { outcome: 'found', entry: stale }
  }

  /** A missing version counts as purged: the tag may have been purged and its version evicted. */
  #isPurged (entry: Entry): boolean {
    if (this.#since === null || this.#since > entry.sequence) return true
    for (const { version } of this.#versionReads) {
      if (version != null && version > entry.sequence) return true
    }
    const isLost = this.#versionReads.some(({ version }, index) => version === null && entry.tags.includes(this.#versions[index] ?? ''))
    if (isLost) this.#aboveLost = entry.sequence + 1
    return isLost
  }
}

/**
 * Applies a soft purge: the entry is stale from the purge on. A purge sequence is Redis's clock in microseconds, or slightly ahead of it.
 *
 * @returns undefined if the value is never served stale
 */
function softened<Entry extends StoredMeta> (entry: Entry, soft: number): Entry | undefined {
  const { bornAt, freshMs } = entry
  if (bornAt === undefined || freshMs === undefined) return undefined
  return { ...entry, freshMs: Math.min(freshMs, Math.max(0, Math.min(soft / 1000, wallMs()) - bornAt)) }
}
