import type { Socket } from 'node:net'

/** How a lane slows what passes. */
export interface Pace {
  /** Every chunk arrives this much later. */
  delayMs?: number
  /** Up to this much more, drawn for each chunk; the order is kept. */
  jitterMs?: number
  /** No more than this passes in a second. */
  bytesPerSecond?: number
}

interface Parcel {
  /** `undefined` is the end of the stream. */
  chunk: Buffer | undefined
  dueAt: number
}

/**
 * One direction of a connection: hands chunks to a socket in their order, each when it is due.
 *
 * Chunks travel side by side, as on a real wire: ten that enter together leave together, one delay later.
 */
export class Lane {
  readonly #target: Socket
  #parcels: Parcel[] = []
  #lastDueAt = 0
  #timer: NodeJS.Timeout | undefined
  #isHeld = false
  #isSealed = false

  constructor (target: Socket) {
    this.#target = target
  }

  /** Takes a chunk, or the stream's end, to deliver at its pace. */
  push (chunk: Buffer | undefined, pace: Pace = {}): void {
    if (this.#isSealed) return
    for (const piece of slices(chunk, pace.bytesPerSecond)) {
      this.#parcels.push({ chunk: piece, dueAt: this.#dueAt(piece, pace) })
    }
    this.#deliver()
  }

  /** Keeps everything back until `release`. */
  hold (): void {
    this.#isHeld = true
  }

  /** Delivers what was kept back. */
  release (): void {
    this.#isHeld = false
    this.#deliver()
  }

  /** Delivers what is under way at once. */
  hurry (): void {
    for (const parcel of this.#parcels) parcel.dueAt = 0
    this.#lastDueAt = 0
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#deliver()
  }

  /** Lets what is under way arrive and takes nothing more, for good: a stream with a gap is no stream. */
  seal (): void {
    this.#isSealed = true
  }

  /** Drops what is under way too. */
  mute (): void {
    this.seal()
    this.#parcels = []
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #dueAt (chunk: Buffer | undefined, pace: Pace): number {
    const { delayMs = 0, jitterMs = 0, bytesPerSecond = Infinity } = pace
    const now = performance.now()
    const arrivesAt = now + delayMs + Math.random() * jitterMs
    const lineFreeAt = Math.max(this.#lastDueAt, now) + (chunk?.length ?? 0) / bytesPerSecond * 1000
    this.#lastDueAt = Math.max(arrivesAt, bytesPerSecond === Infinity ? this.#lastDueAt : lineFreeAt)
    return this.#lastDueAt
  }

  #deliver (): void {
    if (this.#isHeld || this.#timer) return
    let next = this.#parcels[0]
    while (next && next.dueAt <= performance.now()) {
      this.#parcels.shift()
      this.#hand(next.chunk)
      next = this.#parcels[0]
    }
    if (next) this.#wake(next.dueAt - performance.now())
  }

  #wake (inMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#deliver()
    }, Math.max(1, Math.ceil(inMs)))
  }

  #hand (chunk: Buffer | undefined): void {
    if (!this.#target.writable) return
    if (chunk) this.#target.write(chunk)
    else this.#target.end()
  }
}

function slices (chunk: Buffer | undefined, bytesPerSecond = Infinity): Array<Buffer | undefined> {
  const step = Math.max(1, Math.floor(bytesPerSecond / 50))
  if (!chunk || chunk.length <= step) return [chunk]
  return Array.from({ length: Math.ceil(chunk.length / step) }, (_, i) => chunk.subarray(i * step, (i + 1) * step))
}
