import type { LoggedEnvelope } from './event.ts'

const maxEvents = 512
const maxLength = 1_048_576
/** characters of all topics together */
const maxTotalLength = 33_554_432

/** Characters in the replay buffers of all topics of a process. */
export interface SharedBudget {
  length: number
}

/** The last events of a topic without a gap: a subscription that resumes from one of them needs no read from Redis. */
export class ReplayBuffer {
  #events: LoggedEnvelope[] = []
  #length = 0
  #budget: SharedBudget

  constructor (budget: SharedBudget) {
    this.#budget = budget
  }

  add (event: LoggedEnvelope): void {
    this.#events.push(event)
    this.#addLength(event.text.length)
    if (this.#events.length > maxEvents || this.#length > maxLength || this.#budget.length > maxTotalLength) this.#trim()
  }

  clear (): void {
    this.#events = []
    this.#addLength(-this.#length)
  }

  /** All events after an ID; undefined if the buffer does not reach back to it. */
  after (id: string): LoggedEnvelope[] | undefined {
    const next = this.#events.findLastIndex((event) => event.prev === id)
    if (next >= 0) return this.#events.slice(next)
    return this.#events.at(-1)?.id === id ? [] : undefined
  }

  /** Removes half at once: removing the first element at each event would copy the array each time. */
  #trim (): void {
    this.#events = this.#events.slice(Math.ceil(this.#events.length / 2))
    this.#addLength(this.#events.reduce((sum, { text }) => sum + text.length, 0) - this.#length)
  }

  #addLength (length: number): void {
    this.#length += length
    this.#budget.length += length
  }
}
