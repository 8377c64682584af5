/** What every stored thing says of itself. */
export interface Kept {
  readonly sequence: number
  readonly tags: readonly string[]
}

/** How keys are read. */
export interface Reader {
  /** reads one string of Redis; whoever asks in the same tick shares a round trip */
  read: (key: string) => Promise<Buffer | null>
  /** spells the key of a tag's marker */
  markerOf: (tag: string) => string
}

/** A tag's marker as it was read: when the tag was purged last; null when nobody knows. */
export type Marker = number | null

/** What was stored instead of an entry: where the entry stands, for this request. */
export interface Pointer<Entry> {
  readonly name: string
  readonly unpack: (packed: Buffer) => Entry | undefined
}

/** What a stored value turned out to be; undefined for what is no entry of this key. */
export type Unpacked<Entry> = Entry | Pointer<Entry> | undefined

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
export class Lookup<Entry extends Kept> {
  #unpack: (packed: Buffer) => Unpacked<Entry>
  readonly #markers = new Map<string, Marker>()
  readonly #reader: Reader
  #pointer: Pointer<Entry> | undefined
  #packed: Buffer | null = null
  #seen: Buffer | null = null
  #guess: string | undefined
  #guessed: Buffer | null = null
  #open: number
  #isAway = false
  #found: Found<Entry> | undefined
  #wake: (() => void) | undefined

  /**
   * @param name the entry's key
   * @param tags those that the entry is expected to bear
   * @param unpack undefined for what is no entry of this key
   * @param guess where a pointer under this key may lead: read ahead, and used only where it leads there
   */
  constructor (name: string, tags: readonly string[], reader: Reader, unpack: (packed: Buffer) => Unpacked<Entry>, guess?: string) {
    this.#unpack = unpack
    this.#reader = reader
    this.#guess = guess
    this.#open = (guess === undefined ? 1 : 2) + tags.length
    this.#readEntry(name)
    if (guess !== undefined) reader.read(guess).then((packed) => { this.#guessed = packed; this.#arrived() }, () => this.#failed())
    for (const tag of tags) this.#readMarker(tag)
  }

  /** What was found; undefined while it is under way. */
  get found (): Found<Entry> | undefined {
    return this.#found
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
  get requiredSequence (): number | undefined {
    let required = 0
    for (const marker of this.#markers.values()) {
      if (marker === null) return undefined
      if (marker > required) required = marker
    }
    return required
  }

  /** The first bytes of what stood under the name, none where nothing did: enough to tell whether something else stands there later. */
  get seen (): Buffer {
    return this.#seen?.subarray(0, 48) ?? nothingSeen
  }

  /** The tags whose markers are missing. */
  get unmarked (): readonly string[] {
    return [...this.#markers].filter(([, marker]) => marker === null).map(([tag]) => tag)
  }

  #readEntry (name: string): void {
    this.#reader.read(name).then((packed) => { this.#packed = packed; this.#arrived() }, () => this.#failed())
  }

  #readMarker (tag: string): void {
    this.#reader.read(this.#reader.markerOf(tag)).then((marker) => { this.#markers.set(tag, readMarker(marker)); this.#arrived() }, () => this.#failed())
  }

  #failed (): void {
    this.#isAway = true
    this.#arrived()
  }

  #arrived (): void {
    if (--this.#open > 0) return
    const found = this.#conclude()
    if (found === undefined) return
    this.#found = found
    this.#packed = this.#guessed = null
    this.#wake?.()
  }

  /** @returns undefined when the entry bears tags that were not expected, whose markers are read first */
  #conclude (): Found<Entry> | undefined {
    if (this.#isAway) return unavailable
    if (this.#pointer === undefined) this.#seen = this.#packed
    const entry = this.#packed === null ? undefined : this.#unpack(this.#packed)
    if (entry === undefined) return nothing
    if ('unpack' in entry) return this.#follow(entry)
    const unread = entry.tags.filter((tag) => !this.#markers.has(tag))
    if (unread.length === 0) return this.#isPurged(entry) ? nothing : { outcome: 'found', entry }
    this.#open = unread.length
    for (const tag of unread) this.#readMarker(tag)
    return undefined
  }

  #follow (pointer: Pointer<Entry>): Found<Entry> | undefined {
    this.#pointer = pointer
    this.#unpack = pointer.unpack
    if (pointer.name === this.#guess) {
      this.#packed = this.#guessed
      return this.#conclude()
    }
    this.#packed = null
    this.#open = 1
    this.#readEntry(pointer.name)
    return undefined
  }

  /** A marker that is missing tells nothing: the tag may have been purged and the marker evicted. */
  #isPurged (entry: Entry): boolean {
    for (const marker of this.#markers.values()) {
      if (marker !== null && marker > entry.sequence) return true
    }
    return entry.tags.some((tag) => this.#markers.get(tag) === null)
  }
}

/** What cannot be read is a marker of a purge that never ends. */
function readMarker (text: Buffer | null): Marker {
  if (text === null) return null
  const marker = Number(text.toString('latin1'))
  return Number.isNaN(marker) ? Infinity : marker
}
