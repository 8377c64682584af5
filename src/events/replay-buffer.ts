import type { LoggedEnvelope } from './event.ts'

const maxEvents = 512
const maxLength = 1_048_576
/** of all topics together */
const maxTotalLength = 33_554_432

/** What all topics of a process remember together. */
export interface SharedBudget {
  length: number
}

/** The last events of a topic, without a gap, for who resumes nearby: then Redis need not be asked. */
export class ReplayBuffer {
  #events: LoggedEnvelope[] = []
  #length = 0
  #memory: SharedBudget

  constructor (memory: SharedBudget) {
    this.#memory = memory
  }

  add (event: LoggedEnvelope): void {
    this.#events.push(event)
    this.#grow(event.text.length)
    if (this.#events.length > maxEvents || this.#length > maxLength || this.#memory.length > maxTotalLength) this.#shed()
  }

  clear (): void {
    this.#events = []
    this.#grow(-this.#length)
  }

  /** All events after an id; undefined when it is not known here. */
  after (id: string): LoggedEnvelope[] | undefined {
    const next = this.#events.findLastIndex((event) => event.prev === id)
    if (next >= 0) return this.#events.slice(next)
    return this.#events.at(-1)?.id === id ? [] : undefined
  }

  /** Half at a time: an array that loses its first element at each event is copied at each. */
  #shed (): void {
    this.#events = this.#events.slice(Math.ceil(this.#events.length / 2))
    this.#grow(this.#events.reduce((sum, { text }) => sum + text.length, 0) - this.#length)
  }

  #grow (length: number): void {
    this.#length += length
    this.#memory.length += length
  }
}
