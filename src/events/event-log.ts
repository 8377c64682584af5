import { randomInt } from 'node:crypto'
import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/batch/script.ts'
import { readEntry } from './event.ts'
import type { LoggedEnvelope } from './event.ts'
import type { EventsPolicy } from './options.ts'
import { Semaphore } from './semaphore.ts'

/** What a topic's log holds after a position. */
export interface Page {
  /** the id of the last event in the log, or of the log's beginning */
  readonly last: string
  readonly entries: readonly LoggedEnvelope[]
  /** there may be more */
  readonly isFull: boolean
}

const rowsPerPage = 64
/** Small answers of others shall not wait long behind a page. */
const bytesPerPage = 32_768
/** When a connection is lost all topics read at once: what requests ask shall not wait behind them. */
const readsAtOnce = 64

const publish = new Script<string>({ url: new URL('./publish.lua', import.meta.url), costMicroseconds: 25, read: String })
const read = new Script<Page>({ url: new URL('./read.lua', import.meta.url), costMicroseconds: 50, read: readPage })

/** How Redis keeps topics: each a stream, whose entries name the one before them, and a channel. */
export class EventLog {
  #batch: Batch
  #keys: Keys
  #policy: EventsPolicy
  #semaphore = new Semaphore(readsAtOnce)

  constructor (batch: Batch, keys: Keys, policy: EventsPolicy) {
    this.#batch = batch
    this.#keys = keys
    this.#policy = policy
  }

  /**
   * Appends an event and publishes it.
   *
   * @param rest its envelope as `writeRest` leaves it
   * @returns its id
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; it may have been published all the same
   */
  publish (topic: string, rest: string): Promise<string> {
    const keys = [this.#keys.topicLog(topic)]
    return this.#batch.runScript(publish, keys, [this.#keys.topicChannel(topic), rest, this.#policy.historyOf(topic), this.#policy.lifetimeMs, sequence()])
  }

  /**
   * Reads what comes after a position, and keeps the log from ending.
   *
   * @param from an id; undefined: nothing but the last id is wanted
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  read (topic: string, from: string | undefined): Promise<Page> {
    const args = [from ?? '', rowsPerPage, bytesPerPage, this.#policy.lifetimeMs, sequence()]
    return this.#semaphore.run(() => this.#batch.runScript(read, [this.#keys.topicLog(topic)], args, 'background'))
  }
}

function readPage (reply: unknown): Page {
  const [last = '', hasMore, ...fields] = reply as [string, number, ...string[]]
  const entries: LoggedEnvelope[] = []
  for (let index = 0; index < fields.length; index += 3) {
    const entry = readEntry(fields[index] ?? '', fields[index + 1] ?? '', fields[index + 2] ?? '')
    if (entry !== undefined) entries.push(entry)
  }
  return { last, entries, isFull: hasMore === 1 }
}

/** Above any sequence that Redis counts to within a millisecond. */
function sequence (): number {
  return randomInt(2 ** 40, 2 ** 47)
}
