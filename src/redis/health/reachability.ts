import { isMismatch, isRefusal, isTelling, noAnswer, notConnected, reasonOf } from './unreachable-reason.ts'
import type { UnreachableReason } from './unreachable-reason.ts'

/** What a {@link Reachability} needs of its pool. */
export interface ReachabilityOptions {
  /** whether commands can be sent now */
  readonly isReady: () => boolean
  /** `host:port`, for the log */
  readonly where: string | undefined
  readonly isTls: boolean
  /** asks the servers whether they take writes: see `checkWrites`; rejects where they cannot be asked */
  readonly check: () => Promise<Error | undefined>
  /** asks whether the server speaks another protocol than the address says: see `findProtocolMismatch` */
  readonly findMismatch: () => Promise<Error | undefined>
  /** told of each change, with the address in its text; undefined when Redis can be used again */
  readonly changed: (reason: UnreachableReason | undefined) => void
}

/** Errors of one outage come in a row: the change is told when the row is over. */
const settleMs = 150
const checkEveryMs = 1000
/** An error that says only that the connection failed does not replace one that says why, for so long. */
const tellingMs = 3000
/** A denied command that {@link ReachabilityOptions.check} does not ask about counts for so long after it was denied last. */
const denialMs = 30_000

/** Remembers why Redis cannot be used: a connection that is not made, or a server that answers and refuses. */
export class Reachability {
  readonly #options: ReachabilityOptions
  #failure: { readonly error: Error, readonly at: number } | undefined
  #refusal: { readonly error: Error, readonly at: number } | undefined
  #wasReached = false
  #hasProbed = false
  #toldCode: string | undefined
  #settling: NodeJS.Timeout | undefined
  #checking: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (options: ReachabilityOptions) {
    this.#options = options
  }

  /** Why Redis cannot be used, without its address; undefined while it can. */
  get reason (): UnreachableReason | undefined {
    return this.#describe(undefined)
  }

  /** The same with the address: for the log, not for the public. */
  get reasonWithAddress (): UnreachableReason | undefined {
    return this.#describe(this.#options.where)
  }

  /** A connection was lost or not made. */
  failed (error: Error): void {
    if (isTelling(error) || !this.#isTold) this.#failure = { error, at: Date.now() }
    if (!isTelling(error)) this.#probe()
    this.review()
  }

  /** A server answered a command with an error. */
  answered (error: Error): void {
    if (!isRefusal(error)) return
    this.#refusal = { error, at: Date.now() }
    this.review()
    this.#checkLater()
  }

  /** A connection is ready. */
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

  /** Something has changed: tells it, once it has lasted. */
  review (): void {
    if (this.#isClosed) return
    this.#settling ??= setTimeout(() => this.#tell(), settleMs).unref()
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#settling)
    clearTimeout(this.#checking)
  }

  get #error (): Error | undefined {
    if (this.#options.isReady()) return this.#refusal?.error
    if (this.#failure !== undefined && isTelling(this.#failure.error)) return this.#failure.error
    return (this.#refusal ?? this.#failure)?.error ?? (this.#wasReached ? noAnswer : notConnected)
  }

  /** Whether the last failure says why, and still holds: what was found by a look at the protocol holds until the server is reached. */
  get #isTold (): boolean {
    if (this.#failure === undefined || !isTelling(this.#failure.error)) return false
    return isMismatch(this.#failure.error) || Date.now() - this.#failure.at < tellingMs
  }

  #describe (where: string | undefined): UnreachableReason | undefined {
    const error = this.#error
    return error === undefined ? undefined : reasonOf(error, { where, isTls: this.#options.isTls })
  }

  #tell (): void {
    this.#settling = undefined
    if (this.#options.isReady()) this.#failure = undefined
    const reason = this.reasonWithAddress
    if (reason?.code === this.#toldCode || reason?.code === 'not_connected') return
    this.#toldCode = reason?.code
    this.#options.changed(reason)
  }

  /** Once an outage: a client that speaks the wrong protocol sees only a connection that ends or hangs. */
  #probe (): void {
    if (this.#hasProbed || this.#isClosed || this.#options.isReady()) return
    this.#hasProbed = true
    this.#options.findMismatch().then((error) => { if (error !== undefined) this.failed(error) }, () => {}) // no mismatch is known then
  }

  #checkLater (): void {
    if (this.#isClosed) return
    this.#checking ??= setTimeout(() => {
      this.#checking = undefined
      this.#check()
    }, checkEveryMs).unref()
  }

  /** Asks whether writes are refused; while they are, once a second, for nothing else may tell that it is over. */
  #check (): void {
    this.#options.check().then((error) => {
      if (error !== undefined) return this.answered(error)
      const { error: last, at } = this.#refusal ?? {}
      if (last === undefined || at === undefined) return
      if (Date.now() - at < heldMs(last)) return this.#checkLater()
      this.#refusal = undefined
      this.review()
    }, () => { if (this.#refusal !== undefined) this.#checkLater() }) // not answered: an outage, told elsewhere
  }
}

function heldMs (error: Error): number {
  return /^(?:-)?(?:READONLY|OOM|MISCONF|NOREPLICAS)\b/.test(error.message) ? 0 : denialMs
}
