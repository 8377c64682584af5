import { FillError } from './fill-error.ts'
import type { FillLock } from './fill-lock.ts'

/**
 * Outcome of a fill for its waiting requests: the result; a {@link FillError}: the handler failed, and the requests fail with the same error;
 * `failed`: it failed in a way that belongs to its own request, so each request runs the handler itself; `alone`: the response is not shareable,
 * so each request runs the handler itself; `again`: the run produced nothing, so one waiting request becomes the next leader.
 */
export type FillOutcome<Result> = Result | FillError | 'failed' | 'alone' | 'again'

/** The batch that reads the purge sequence of a fill; -1 if unknown. */
interface StartedAt {
  /** the sequence is read in the batch of this tick */
  readonly tick?: number
  /** the sequence is read in the same batch as lookups, after them */
  readonly lookTick?: number
}

/** One handler run for a key and the requests of this process that wait for its result. */
export class InProcessFill<Result extends object> {
  /** purge sequence before the handler ran; until it has been read, a lower bound */
  sequence: number
  /** the Redis lock, once acquired */
  lock: FillLock | undefined
  /** Redis was unavailable at the start: the response is not stored */
  isOutage = false
  /** the handler runs; before, the fill waits for the Redis lock */
  isRunning = false
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

  /** Resolves once and never rejects. Created lazily, because most fills have no waiting requests. */
  get result (): Promise<FillOutcome<Result>> {
    if (this.#ending !== undefined) return Promise.resolve(this.#ending)
    this.#waiting ??= Promise.withResolvers()
    return this.#waiting.promise
  }

  /** Whether a request waits for the result. */
  get hasWaiters (): boolean {
    return this.#waiting !== undefined
  }

  /** The result, or `late` after `timeoutMs`. */
  async resultWithin (timeoutMs: number): Promise<FillOutcome<Result> | 'late'> {
    const { promise, resolve } = Promise.withResolvers<'late'>()
    const timer = setTimeout(resolve, Math.max(0, timeoutMs), 'late' as const)
    return await Promise.race([this.result, promise]).finally(() => clearTimeout(timer))
  }

  /** Ends the fill; later calls have no effect on the outcome. */
  end (ending: FillOutcome<Result>): void {
    this.#ended(this, ending)
    this.#ending ??= ending
    this.#waiting?.resolve(this.#ending)
  }
}

/** A fill that has not ended by then is ended with `again`. */
const longestMs = 30_000
const sweepEveryMs = 5000

/** In-process single flight: concurrent requests for one key share one handler run. */
export class SingleFlightGroup<Result extends object> {
  readonly #byKey = new Map<string, InProcessFill<Result>>()
  readonly #open = new Set<InProcessFill<Result>>()
  #timer: NodeJS.Timeout | undefined

  /**
   * The in-flight run for a key, if the caller may use its result: the run must not have started before a purge that the caller may have observed.
   *
   * @param minSequence undefined if unknown, because a tag version is missing
   * @param now current tick: a fill whose sequence is read in the current batch starts after everything read before
   * @param lookTick tick of the caller's lookup: a fill whose sequence is read in the same batch, after the lookup, starts after it too
   */
  find (key: string, minSequence: number | undefined, now: number, lookTick = NaN): InProcessFill<Result> | undefined {
    const fill = this.#byKey.get(key)
    if (fill === undefined) return undefined
    return (now >= 0 && fill.tick === now) || fill.lookTick === lookTick || (minSequence !== undefined && fill.sequence >= minSequence) ? fill : undefined
  }

  /** Whether a run for a key is in flight, regardless of its sequence. */
  has (key: string): boolean {
    return this.#byKey.has(key)
  }

  /**
   * Registers a run; it replaces an older one.
   *
   * @param sequence lower bound of the purge sequence
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
    // A run that replaced this one because it was slow need not be awaited: its waiting requests get this result.
    else if (typeof ending === 'object' && !(ending instanceof FillError) && last?.lock !== undefined && last.sequence <= fill.sequence) last.end(ending)
  }

  #sweep (): void {
    this.#timer = undefined
    const before = performance.now() - longestMs
    for (const fill of this.#open) if (fill.begunAt <= before) fill.end('again')
    if (this.#open.size > 0) this.#timer ??= setTimeout(() => this.#sweep(), sweepEveryMs).unref()
  }
}
