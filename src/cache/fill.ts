import type { Lock } from './lock.ts'

/**
 * How a run ended for those who wait for it: with what may be given to them; `alone`, its answer is nobody else's, so each runs for itself;
 * `again`, it came to nothing, and one of them takes over.
 */
export type Ending<Result> = Result | 'alone' | 'again'

/** One run of the handler for a key, and those who wait for its answer. */
export interface Fill<Result> {
  /** where the purge sequence stood before the handler ran; before that is known, where it stood at least */
  sequence: number
  /** what it holds among all processes, once it runs */
  lock: Lock | undefined
  /** Redis was away when it began: its answer is kept by nobody */
  isOutage: boolean
  /** settles once */
  readonly result: Promise<Ending<Result>>
  /** ends it; only the first call counts */
  end (ending: Ending<Result>): void
}

/** What nobody has ended by then is forgotten. */
const longestMs = 30_000

/** The fills of one process: who wants the same answer at the same time shares one run of the handler. */
export class Fills<Result extends object> {
  readonly #byKey = new Map<string, { fill: Fill<Result>, tick: number, lookTick: number }>()

  /**
   * The run under way for a key, if its answer may be given to somebody who read this sequence: it must not be older than a purge that had answered.
   *
   * @param required undefined when nobody knows, for a marker is missing
   * @param tick the batch's, now: a fill that begins with what leaves in this tick begins after whatever was read before
   * @param lookTick of the batch that read it: a fill whose question left along with it, behind it, begins after it too
   */
  find (key: string, required: number | undefined, tick: number, lookTick = NaN): Fill<Result> | undefined {
    const found = this.#byKey.get(key)
    if (found === undefined) return undefined
    return (tick >= 0 && found.tick === tick) || found.lookTick === lookTick || (required !== undefined && found.fill.sequence >= required) ? found.fill : undefined
  }

  /** Whether a run for a key is under way, whoever may have its answer. */
  has (key: string): boolean {
    return this.#byKey.has(key)
  }

  /**
   * Begins a run; it takes the place of an older one.
   *
   * @param sequence where the purge sequence stands, at least
   * @param tick of the batch that its question leaves with; -1 where it asked before
   * @param lookTick of the batch that its question left with, behind a look
   */
  begin (key: string, sequence: number, tick = -1, lookTick = -1): Fill<Result> {
    const { promise, resolve } = Promise.withResolvers<Ending<Result>>()
    const timer = setTimeout(() => fill.end('again'), longestMs).unref()
    const fill: Fill<Result> = {
      sequence,
      lock: undefined,
      isOutage: false,
      result: promise,
      end: (ending) => {
        clearTimeout(timer)
        const last = this.#byKey.get(key)?.fill
        if (last === fill) this.#byKey.delete(key)
        // Who took its place because it was slow need not be waited for any more.
        else if (typeof ending === 'object' && last?.lock !== undefined && last.sequence <= fill.sequence) last.end(ending)
        resolve(ending)
      }
    }
    this.#byKey.set(key, { fill, tick, lookTick })
    return fill
  }
}
