import { aclDenial, isServerFailure } from './error-class.ts'
import { isRefusal, isSpecific, noReply, notConnected, reasonOf } from './unreachable-reason.ts'
import type { AddressVariable, UnreachableReason } from './unreachable-reason.ts'

/** Dependencies and callbacks of a {@link Reachability}. */
export interface ReachabilityOptions {
  /** whether commands can be sent now */
  readonly isReady: () => boolean
  /** `host:port`, for the log */
  readonly where: string | undefined
  /** the variable that the texts name: see {@link reasonOf} */
  readonly variable?: AddressVariable | undefined
  /** checks whether the servers accept writes: see `checkWrites`; rejects if they do not reply */
  readonly check: () => Promise<Error | undefined>
  /** probes the server to find out why a connection does not succeed: see `probeServer` */
  readonly probe: () => Promise<Error | undefined>
  /** called at each change of the reason, with the address in its text; undefined when Redis can be used again */
  readonly changed: (reason: UnreachableReason | undefined) => void
}

/** An outage causes a burst of errors: report the reason after the burst. */
const settleMs = 150
const checkEveryMs = 1000
/** A generic connection error does not replace a specific one for this long. During an outage, the server is probed as often. */
const specificMs = 5000
/** A denied command that {@link ReachabilityOptions.check} does not cover counts for this long after the last denial. */
const denialMs = 30_000

/** Tracks why Redis cannot be used: no connection, or a server that rejects commands. */
export class Reachability {
  readonly #options: ReachabilityOptions
  #failure: { readonly error: Error, readonly at: number } | undefined
  #refusal: { readonly error: Error, readonly at: number } | undefined
  /** what the last probe found, while the client's own errors are generic */
  #found: Error | undefined
  #wasReached = false
  #probedAt = -Infinity
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
    if (this.#replaces(error)) this.#failure = { error, at: Date.now() }
    if (!isSpecific(error)) this.#probe()
    this.review()
  }

  /** Records an error reply. */
  errorReplied (error: Error): void {
    // BUSY and the like open the circuit breaker: they say why, once it is open.
    if (error.name === 'ReplyError' && isServerFailure(error)) this.failed(error)
    if (!isRefusal(error)) return
    const isFirst = this.#refusal === undefined
    this.#refusal = { error: this.#refusal === undefined ? error : moreTelling(error, this.#refusal.error), at: Date.now() }
    this.review()
    this.#checkLater(isFirst && isUnnamed(error) ? 0 : checkEveryMs)
  }

  /** Records that a connection is ready. */
  reached (isNewServer: boolean): void {
    this.#failure = undefined
    this.#found = undefined
    this.#wasReached = true
    this.#probedAt = -Infinity
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
    if (this.#found !== undefined) return this.#found
    return (this.#refusal ?? this.#failure)?.error ?? (this.#wasReached ? noReply : notConnected)
  }

  /** A generic error does not replace a specific one that is recent, and unreachable Sentinels not the error of the master that they name: ioredis reports both in turn. */
  #replaces (error: Error): boolean {
    if (this.#failure === undefined || !isSpecific(this.#failure.error) || Date.now() - this.#failure.at >= specificMs) return true
    return isSpecific(error) && (reasonOf(error).code !== 'no_sentinel' || reasonOf(this.#failure.error).code === 'no_sentinel')
  }

  #describe (where: string | undefined): UnreachableReason | undefined {
    const error = this.#error
    return error === undefined ? undefined : reasonOf(error, { where, variable: this.#options.variable })
  }

  #report (): void {
    this.#reportTimer = undefined
    if (this.#options.isReady()) this.#failure = undefined
    const reason = this.reasonWithAddress
    if (reason?.code === this.#reportedCode || reason?.code === 'not_connected') return
    this.#reportedCode = reason?.code
    this.#options.changed(reason)
  }

  /** A client with the wrong protocol, or one that the server rejects before its first command, sees only a connection that ends or hangs. */
  #probe (): void {
    if (this.#isClosed || this.#options.isReady() || Date.now() - this.#probedAt < specificMs) return
    this.#probedAt = Date.now()
    const found = (error: Error | undefined) => {
      if (this.#options.isReady()) return
      this.#found = error
      this.review()
    }
    this.#options.probe().then(found, () => found(undefined))
  }

  #checkLater (ms = checkEveryMs): void {
    if (this.#isClosed) return
    this.#checking ??= setTimeout(() => {
      this.#checking = undefined
      this.#check()
    }, ms).unref()
  }

  /** Checks whether writes are rejected. While they are, it repeats every second, because no other event may report the end. */
  #check (): void {
    this.#options.check().then((error) => {
      if (error !== undefined) return this.errorReplied(error)
      const { error: last, at } = this.#refusal ?? {}
      if (last === undefined || at === undefined) return
      if (Date.now() - at < validMs(last)) return this.#checkLater()
      this.#refusal = undefined
      this.review()
    }, () => { if (this.#refusal !== undefined) this.#checkLater() }) // no reply: an outage, which `failed` reports
  }
}

/** Whether the server did not say which command it denies: Redis 7.0 does not, in a script. */
function isUnnamed (error: Error): boolean {
  return aclDenial(error) === 'a command of a script'
}

/** A denial that names what is denied is not replaced by one that does not. */
function moreTelling (error: Error, last: Error): Error {
  return isUnnamed(error) && aclDenial(last) !== undefined ? last : error
}

function validMs (error: Error): number {
  return /^(?:-)?(?:READONLY|MASTERDOWN|OOM|MISCONF|NOREPLICAS|MISSING_COMMAND|VERSION_TOO_OLD)\b/.test(error.message) ? 0 : denialMs
}
