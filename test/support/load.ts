/** Options of a load. */
export interface LoadOptions {
  /** calls per second, started on time even if earlier ones are pending */
  rate: number
  /** One call; a rejection counts as failed. */
  call (): Promise<unknown>
}

/** One call, as its caller sees it. */
export interface Sample {
  /** On the clock of `performance.now()`. */
  startedAt: number
  /** wait of the caller; 0 while pending */
  waitMs: number
  outcome: 'succeeded' | 'failed' | 'waiting'
}

/** Calls at a steady rate, from now until `stop`. */
export class Load {
  readonly samples: Sample[] = []
  readonly #options: LoadOptions
  readonly #startedAt = performance.now()
  readonly #timer: NodeJS.Timeout
  #made = 0

  constructor (options: LoadOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#catchUp(), 1000 / options.rate)
  }

  /** Starts no more calls; pending ones can still settle. */
  stop (): void {
    clearInterval(this.#timer)
  }

  /** The longest wait of the calls since an instant, in milliseconds. */
  longestWaitMs (sinceAt = 0): number {
    const waits = this.#since(sinceAt).map((sample) => waitOf(sample))
    return Math.max(0, ...waits)
  }

  /** How many calls since an instant had this outcome. */
  count (outcome: Sample['outcome'], sinceAt = 0): number {
    return this.#since(sinceAt).filter((sample) => sample.outcome === outcome).length
  }

  /** Time from an instant to the first call after which every call succeeded; undefined if the last one did not. */
  recoveryMs (sinceAt: number): number | undefined {
    const settled = this.#since(sinceAt).filter(({ outcome }) => outcome !== 'waiting')
    const lastFailed = settled.findLastIndex(({ outcome }) => outcome === 'failed')
    const first = settled[lastFailed + 1]
    return first && first.startedAt - sinceAt
  }

  #since (at: number): Sample[] {
    return this.samples.filter(({ startedAt }) => startedAt >= at)
  }

  /** Timers are late on a busy machine: due calls are started at once, so that the rate is kept. */
  #catchUp (): void {
    const due = (performance.now() - this.#startedAt) / 1000 * this.#options.rate
    for (; this.#made < due; this.#made++) this.#call()
  }

  #call (): void {
    const sample: Sample = { startedAt: performance.now(), waitMs: 0, outcome: 'waiting' }
    this.samples.push(sample)
    this.#options.call().then(() => settle(sample, 'succeeded'), () => settle(sample, 'failed'))
  }
}

function settle (sample: Sample, outcome: Sample['outcome']): void {
  sample.outcome = outcome
  sample.waitMs = performance.now() - sample.startedAt
}

function waitOf ({ outcome, startedAt, waitMs }: Sample): number {
  return outcome === 'waiting' ? performance.now() - startedAt : waitMs
}
