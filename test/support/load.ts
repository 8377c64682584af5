/** How load is made. */
export interface LoadOptions {
  /** Calls a second, started on time whether or not earlier ones are back. */
  rate: number
  /** One call; a rejection counts as failed. */
  call (): Promise<unknown>
}

/** One call, as the caller felt it. */
export interface Sample {
  /** On the clock of `performance.now()`. */
  startedAt: number
  /** How long the caller waited; 0 while it waits. */
  waitMs: number
  outcome: 'answered' | 'failed' | 'waiting'
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

  /** Starts no more calls; those under way may still settle. */
  stop (): void {
    clearInterval(this.#timer)
  }

  /** The longest that a caller waited of those who called since an instant, in milliseconds. */
  longestWaitMs (sinceAt = 0): number {
    const waits = this.#since(sinceAt).map((sample) => waitOf(sample))
    return Math.max(0, ...waits)
  }

  /** How many calls since an instant had this outcome. */
  count (outcome: Sample['outcome'], sinceAt = 0): number {
    return this.#since(sinceAt).filter((sample) => sample.outcome === outcome).length
  }

  /** From an instant to the first call after which every one was answered; none while the last one was not. */
  recoveryMs (sinceAt: number): number | undefined {
    const settled = this.#since(sinceAt).filter(({ outcome }) => outcome !== 'waiting')
    const lastFailed = settled.findLastIndex(({ outcome }) => outcome === 'failed')
    const first = settled[lastFailed + 1]
    return first && first.startedAt - sinceAt
  }

  #since (at: number): Sample[] {
    return this.samples.filter(({ startedAt }) => startedAt >= at)
  }

  /** Timers come late on a busy machine: what is due is made at once, so that the rate holds. */
  #catchUp (): void {
    const due = (performance.now() - this.#startedAt) / 1000 * this.#options.rate
    for (; this.#made < due; this.#made++) this.#call()
  }

  #call (): void {
    const sample: Sample = { startedAt: performance.now(), waitMs: 0, outcome: 'waiting' }
    this.samples.push(sample)
    this.#options.call().then(() => settle(sample, 'answered'), () => settle(sample, 'failed'))
  }
}

function settle (sample: Sample, outcome: Sample['outcome']): void {
  sample.outcome = outcome
  sample.waitMs = performance.now() - sample.startedAt
}

function waitOf ({ outcome, startedAt, waitMs }: Sample): number {
  return outcome === 'waiting' ? performance.now() - startedAt : waitMs
}
