import { isMismatch, isRefusal, isSpecific, noAnswer, notConnected, reasonOf } from './unreachable-reason.ts'
import type { UnreachableReason } from './unreachable-reason.ts'

/** Dependencies and callbacks of a {@link Reachability}. */
export interface ReachabilityOptions {
  /** whether commands can be sent now */
  readonly isReady: () => boolean
  /** `host:port`, for the log */
  readonly where: string | undefined
  readonly isTls: boolean
  /** checks whether the servers accept writes: see `checkWrites`; rejects if they do not reply */
  readonly check: () => Promise<Error | undefined>
  /** detects a wrong protocol in the address: see `findProtocolMismatch` */
  readonly findMismatch: () => Promise<Error | undefined>
  /** called at each change of the reason, with the address in its text; undefined when Redis can be used again */
  readonly changed: (reason: UnreachableReason | undefined) => void
}

/** An outage causes a burst of errors: report the reason after the burst. */
const settleMs = 150
const checkEveryMs = 1000
/** A generic connection error does not replace a specific one for this long. */
const specificMs = 3000
/** A denied command that {@link ReachabilityOptions.check} does not cover counts for this long after the last denial. */
const denialMs = 30_000

/** Tracks why Redis cannot be used: no connection, or a server that rejects commands. */
export class Reachability {
  readonly #options: ReachabilityOptions
  #failure: { readonly error: Error, readonly at: number } | undefined
  #refusal: { readonly error: Error, readonly at: number } | undefined
  #wasReached = false
  #hasProbed = false
  #reportedCode: string | undefined
  #reportTimer: NodeJS.Timeout | undefined
  #checking: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (options: ReachabilityOptions) {
    this.#options = options
  }

  /** Why Redis cannot be used, without its address; undefined while it can be used. */
  get reason (): UnreachableReason | undefined {
    return this.#describe(undefined)
  }

  /** As {@link reason}, with the address: for the log, not for public responses. */
  get reasonWithAddress (): UnreachableReason | undefined {
    return this.#describe(this.#options.where)
  }

  /** Records a connection that was lost or not established. */
  failed (error: Error): void {
    if (isSpecific(error) || !this.#isSpecific) this.#failure = { error, at: Date.now() }
    if (!isSpecific(error)) this.#probe()
    this.review()
  }

  /** Records an error reply. */
  answered (error: Error): void {
    if (!isRefusal(error)) return
    this.#refusal = { error, at: Date.now() }
    this.review()
    this.#checkLater()
  }

  /** Records that a connection is ready. */
  reached (isNewServer: boolean): void {
    this.#failure = undefined
    this.#wasReached = true
    this.#hasProbed = false
    if (isNewServer) {
      this.#refusal = undefined
      this.#check()
    }
    this.review()
  }

  /** Schedules a report of the current reason, if it differs from the last one. */
  review (): void {
    if (this.#isClosed) return
    this.#reportTimer ??= setTimeout(() => this.#report(), settleMs).unref()
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#reportTimer)
    clearTimeout(this.#checking)
  }

  get #error (): Error | undefined {
    if (this.#options.isReady()) return this.#refusal?.error
    if (this.#failure !== undefined && isSpecific(this.#failure.error)) return this.#failure.error
    return (this.#refusal ?? this.#failure)?.error ?? (this.#wasReached ? noAnswer : notConnected)
  }

  /** Whether the last failure is specific and still valid: a protocol mismatch is valid until a connection succeeds. */
  get #isSpecific (): boolean {
    if (this.#failure === undefined || !isSpecific(this.#failure.error)) return false
    return isMismatch(this.#failure.error) || Date.now() - this.#failure.at < specificMs
  }

  #describe (where: string | undefined): UnreachableReason | undefined {
    const error = this.#error
    return error === undefined ? undefined : reasonOf(error, { where, isTls: this.#options.isTls })
  }

  #report (): void {
    this.#reportTimer = undefined
    if (this.#options.isReady()) this.#failure = undefined
    const reason = this.reasonWithAddress
    if (reason?.code === this.#reportedCode || reason?.code === 'not_connected') return
    this.#reportedCode = reason?.code
    this.#options.changed(reason)
  }

  /** Runs once per outage: a client with the wrong protocol sees only a connection that ends or hangs. */
  #probe (): void {
    if (this.#hasProbed || this.#isClosed || this.#options.isReady()) return
    this.#hasProbed = true
    this.#options.findMismatch().then((error) => { if (error !== undefined) this.failed(error) }, () => {}) // the probe failed: report no mismatch
  }

  #checkLater (): void {
    if (this.#isClosed) return
    this.#checking ??= setTimeout(() => {
      this.#checking = undefined
      this.#check()
    }, checkEveryMs).unref()
  }

  /** Checks whether writes are rejected. While they are, it repeats every second, because no other event may report the end. */
  #check (): void {
    this.#options.check().then((error) => {
      if (error !== undefined) return this.answered(error)
      const { error: last, at } = this.#refusal ?? {}
      if (last === undefined || at === undefined) return
      if (Date.now() - at < validMs(last)) return this.#checkLater()
      this.#refusal = undefined
      this.review()
    }, () => { if (this.#refusal !== undefined) this.#checkLater() }) // no reply: an outage, which `failed` reports
  }
}

function validMs (error: Error): number {
  return /^(?:-)?(?:READONLY|OOM|MISCONF|NOREPLICAS)\b/.test(error.message) ? 0 : denialMs
}
