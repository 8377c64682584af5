import type { FillLock } from './fill-lock.ts'

/**
 * How a run ended for those who wait for it: with what may be given to them; `alone`, its answer is nobody else's, so each runs for itself;
 * `again`, it came to nothing, and one of them takes over.
 */
export type FillOutcome<Result> = Result | 'alone' | 'again'

/** When a fill begins, told by the batch that bears its question of where the purge sequence stands; -1 for neither. */
export interface StartedAt {
  /** it leaves with what this tick asks */
  readonly tick?: number
  /** it left along with looks, behind them */
  readonly lookTick?: number
}

/** One run of the handler for a key, and those who wait for its answer. */
export class InProcessFill<Result extends object> {
  /** where the purge sequence stood before the handler ran; before that is known, where it stood at least */
  sequence: number
  /** what it holds among all processes, once it runs */
  lock: FillLock | undefined
  /** Redis was away when it began: its answer is kept by nobody */
  isOutage = false
  readonly key: string
  readonly tick: number
  readonly lookTick: number
  readonly begunAt = performance.now()
  readonly #ended: (fill: InProcessFill<Result>, ending: FillOutcome<Result>) => void
  #ending: FillOutcome<Result> | undefined
  #waiting: PromiseWithResolvers<FillOutcome<Result>> | undefined

  constructor (key: string, sequence: number, { tick = -1, lookTick = -1 }: StartedAt, ended: (fill: InProcessFill<Result>, ending: FillOutcome<Result>) => void) {
    this.key = key
    this.sequence = sequence
    this.lock = undefined
    this.tick = tick
    this.lookTick = lookTick
    this.#ended = ended
  }

  /** Settles once, and never rejects; most fills have nobody who waits. */
  get result (): Promise<FillOutcome<Result>> {
    if (this.#ending !== undefined) return Promise.resolve(this.#ending)
    this.#waiting ??= Promise.withResolvers()
    return this.#waiting.promise
  }

  /** Ends it; only the first call counts. */
  end (ending: FillOutcome<Result>): void {
    this.#ended(this, ending)
    this.#ending ??= ending
    this.#waiting?.resolve(this.#ending)
  }
}

/** What nobody has ended by then is forgotten. */
const longestMs = 30_000
const sweepEveryMs = 5000

/** The fills of one process: who wants the same answer at the same time shares one run of the handler. */
export class SingleFlightGroup<Result extends object> {
  readonly #byKey = new Map<string, InProcessFill<Result>>()
  readonly #open = new Set<InProcessFill<Result>>()
  #timer: NodeJS.Timeout | undefined

  /**
   * The run under way for a key, if its answer may be given to somebody who read this sequence: it must not be older than a purge that had answered.
   *
   * @param required undefined when nobody knows, for a marker is missing
   * @param now the batch's tick: a fill that begins with what leaves in it begins after whatever was read before
   * @param lookTick of the batch that read it: a fill whose question left along with it, behind it, begins after it too
   */
  find (key: string, required: number | undefined, now: number, lookTick = NaN): InProcessFill<Result> | undefined {
    const fill = this.#byKey.get(key)
    if (fill === undefined) return undefined
    return (now >= 0 && fill.tick === now) || fill.lookTick === lookTick || (required !== undefined && fill.sequence >= required) ? fill : undefined
  }

  /** Whether a run for a key is under way, whoever may have its answer. */
  has (key: string): boolean {
    return this.#byKey.has(key)
  }

  /**
   * Begins a run; it takes the place of an older one.
   *
   * @param sequence where the purge sequence stands, at least
   */
  begin (key: string, sequence: number, since: StartedAt = {}): InProcessFill<Result> {
    const fill = new InProcessFill<Result>(key, sequence, since, this.#ended)
    this.#byKey.set(key, fill)
    this.#open.add(fill)
    this.#timer ??= setTimeout(() => this.#sweep(), sweepEveryMs).unref()
    return fill
  }

  readonly #ended = (fill: InProcessFill<Result>, ending: FillOutcome<Result>): void => {
    this.#open.delete(fill)
    const last = this.#byKey.get(fill.key)
    if (last === fill) this.#byKey.delete(fill.key)
    // Who took its place because it was slow need not be waited for any more.
    else if (typeof ending === 'object' && last?.lock !== undefined && last.sequence <= fill.sequence) last.end(ending)
  }

  #sweep (): void {
    this.#timer = undefined
    const before = performance.now() - longestMs
    for (const fill of this.#open) if (fill.begunAt <= before) fill.end('again')
    if (this.#open.size > 0) this.#timer ??= setTimeout(() => this.#sweep(), sweepEveryMs).unref()
  }
}
