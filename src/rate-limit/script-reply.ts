import { Script } from '../redis/batch/script.ts'
import type { QuotaCost } from './quota.ts'

/** What a counter says after a request has been counted, or refused. */
export interface QuotaStatus {
  /** units left, never below 0 */
  readonly remaining: number
  /** milliseconds until more units come; 0 when nothing is used */
  readonly resetMs: number
  /** milliseconds until the same request fits; 0 when it fits now */
  readonly retryMs: number
}

/** The answer to one request: whether all of its counters had room, and what each says, in the order asked. */
export interface Decision {
  readonly isAllowed: boolean
  readonly statuses: readonly QuotaStatus[]
}

/** What Redis says to a row. */
export interface ScriptReply {
  /** how many of it; -1 when Redis read the ask too late, -2 when the session is dead */
  readonly granted: number
  /** Redis's clock */
  readonly nowMs: number
  readonly statuses: readonly QuotaStatus[]
}

/** It was read after its deadline. */
export const tooLate = -1
/** The session that a claim was made for has ended, or never was. */
export const noSession = -2

/** Asks `take.lua`. */
export const take = new Script<ScriptReply>({
  url: new URL('./consume.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => readScriptReply(new Numbers(reply as string))
})

/** The whole numbers of a text, one after the other: a third of what splitting it costs, and each request reads one. */
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
  // Most have one; a list that grows has room for sixteen more.
  const statuses = [readQuotaStatus(numbers)]
  while (!numbers.isOver) statuses.push(readQuotaStatus(numbers))
  return { granted, nowMs, statuses }
}

function readQuotaStatus (numbers: Numbers): QuotaStatus {
  return { remaining: numbers.next(), resetMs: numbers.next(), retryMs: numbers.next() }
}

/** What a row's answer means for the request at a place: who stood before others has seen more units left than they. */
export function decisionOf ({ granted, statuses }: ScriptReply, place: number, costs: readonly QuotaCost[]): Decision {
  const after = granted - place
  if (after <= 0) return { isAllowed: after === 0, statuses }
  return { isAllowed: true, statuses: statuses.map((each, index) => ({ ...each, remaining: each.remaining + after * (costs[index]?.cost ?? 0), retryMs: 0 })) }
}
