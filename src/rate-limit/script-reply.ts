import { Script } from '../redis/batch/script.ts'
import type { QuotaCost } from './quota.ts'

/** The state of a counter after a request was counted or rejected. */
export interface QuotaStatus {
  /** units left, never below 0 */
  readonly remaining: number
  /** milliseconds until more units come; 0 when nothing is used */
  readonly resetMs: number
  /** milliseconds until the same request fits; 0 when it fits now */
  readonly retryMs: number
}

/** The result of one request: whether all of its quotas allow it, and the status of each in request order. */
export interface Decision {
  readonly isAllowed: boolean
  readonly statuses: readonly QuotaStatus[]
}

/** The reply to a coalesced check. */
export interface ScriptReply {
  /** number of allowed requests; {@link tooLate}, {@link noSession} or {@link notCounted} */
  readonly granted: number
  /** Redis's clock, milliseconds since 1970 */
  readonly nowMs: number
  readonly statuses: readonly QuotaStatus[]
}

/** Redis executed the script after its deadline and counted nothing. */
export const tooLate = -1
/** The request's session does not exist or has ended; nothing was counted. */
export const noSession = -2

/** `consume-sliding.lua` has counted nothing: `consume.lua` must. */
export const notCounted = -3

/** Consumes units. */
export const consume = new Script<ScriptReply>({
  url: new URL('./consume.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => readScriptReply(new Numbers(reply as string))
})

/** Reads the integers of a text one by one: a third of the cost of splitting it, and this runs for each request. */
class Numbers {
  readonly #text: string
  #at = 0

  constructor (text: string) {
    this.#text = text
  }

  get isOver (): boolean {
    return this.#at >= this.#text.length
  }

  next (): number {
    const isNegative = this.#text.charCodeAt(this.#at) === minus
    if (isNegative) this.#at += 1
    let number = 0
    for (let code = this.#text.charCodeAt(this.#at++); code >= zero; code = this.#text.charCodeAt(this.#at++)) number = number * 10 + code - zero
    return isNegative ? -number : number
  }
}

const minus = 45
const zero = 48

function readScriptReply (numbers: Numbers): ScriptReply {
  const granted = numbers.next()
  const nowMs = numbers.next()
  if (numbers.isOver) return { granted, nowMs, statuses: [] }
  // A literal: most replies have one status, and a pushed-to array allocates space for 17.
  const statuses = [readQuotaStatus(numbers)]
  while (!numbers.isOver) statuses.push(readQuotaStatus(numbers))
  return { granted, nowMs, statuses }
}

function readQuotaStatus (numbers: Numbers): QuotaStatus {
  return { remaining: numbers.next(), resetMs: numbers.next(), retryMs: numbers.next() }
}

/**
 * The decision for one of the coalesced requests: an earlier one sees more units remaining than a later one.
 *
 * @param position of the request in the coalesced check, from 1
 */
export function decisionOf ({ granted, statuses }: ScriptReply, position: number, costs: readonly QuotaCost[]): Decision {
  const after = granted - position
  if (after <= 0) return { isAllowed: after === 0, statuses }
  return { isAllowed: true, statuses: statuses.map((each, index) => ({ ...each, remaining: each.remaining + after * (costs[index]?.cost ?? 0), retryMs: 0 })) }
}
