import type { Socket } from 'node:net'

/** How a direction slows its data. */
export interface Pace {
  /** delay of every chunk */
  delayMs?: number
  /** additional random delay of each chunk; the order is preserved */
  jitterMs?: number
  /** maximum bytes per second */
  bytesPerSecond?: number
}

interface Chunk {
  /** `undefined` is the end of the stream. */
  chunk: Buffer | undefined
  dueAt: number
}

/**
 * One direction of a connection: writes chunks to a socket in order, each at its time.
 *
 * Chunks are delayed concurrently, as on a real wire: ten that enter together leave together, one delay later.
 */
export class Direction {
  readonly #target: Socket
  #chunks: Chunk[] = []
  #lastDueAt = 0
  #timer: NodeJS.Timeout | undefined
  #isHeld = false
  #isSealed = false

  constructor (target: Socket) {
    this.#target = target
  }

  /** Accepts a chunk, or the stream's end, and delivers it at its pace. */
  push (chunk: Buffer | undefined, pace: Pace = {}): void {
    if (this.#isSealed) return
    for (const piece of slices(chunk, pace.bytesPerSecond)) {
      this.#chunks.push({ chunk: piece, dueAt: this.#dueAt(piece, pace) })
    }
    this.#deliver()
  }

  /** Holds everything until `release`. */
  hold (): void {
    this.#isHeld = true
  }

  /** Delivers what was held. */
  release (): void {
    this.#isHeld = false
    this.#deliver()
  }

  /** Delivers delayed chunks at once. */
  hurry (): void {
    for (const chunk of this.#chunks) chunk.dueAt = 0
    this.#lastDueAt = 0
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#deliver()
  }

  /** Delivers delayed chunks and accepts no more: a stream with a gap would be invalid. */
  seal (): void {
    this.#isSealed = true
  }

  /** Drops delayed chunks too. */
  mute (): void {
    this.seal()
    this.#chunks = []
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
    let next = this.#chunks[0]
    while (next && next.dueAt <= performance.now()) {
      this.#chunks.shift()
      this.#hand(next.chunk)
      next = this.#chunks[0]
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
