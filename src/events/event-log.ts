import { randomInt } from 'node:crypto'
import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script, SingleScript } from '../redis/batch/script.ts'
import { selectByScript } from '../redis/batch/script-selection.ts'
import { readEntry } from './event.ts'
import type { LoggedEnvelope } from './event.ts'
import type { EventsPolicy } from './options.ts'
import { Semaphore } from './semaphore.ts'

/** What a topic's log holds after a position. */
export interface Page {
  /** ID of the last entry in the log; an empty log has an entry that marks its start */
  readonly last: string
  readonly entries: readonly LoggedEnvelope[]
  /** the log may hold more entries after these */
  readonly isFull: boolean
}

/** A topic's position in this process. */
export interface TopicPosition {
  readonly topic: string
  readonly position: string
}

const rowsPerPage = 64
/** A page shares its connection with small replies; they must not wait long behind it. */
const bytesPerPage = 32_768
/** After a reconnect all topics read their logs; the bound keeps requests' operations from queueing behind these reads. */
const maxConcurrentReads = 64
const positionsPerCall = 32

const publish = new SingleScript<string>({ url: new URL('./publish.lua', import.meta.url), costMicroseconds: 25, read: String })
const read = new Script<Page>({ url: new URL('./read.lua', import.meta.url), costMicroseconds: 50, read: readPage })
const compare = new Script<number[]>({ url: new URL('./compare.lua', import.meta.url), costMicroseconds: 200, read: (reply) => reply as number[] })

/** The storage of topics in Redis: a stream whose entries name their predecessor, and a Pub/Sub channel. */
export class EventLog {
  #batch: Batch
  #keys: Keys
  #policy: EventsPolicy
  #isCluster: () => boolean
  #semaphore = new Semaphore(maxConcurrentReads)

  /** @param isCluster whether the keys of one call must share a slot */
  constructor (batch: Batch, keys: Keys, policy: EventsPolicy, isCluster: () => boolean) {
    this.#isCluster = isCluster
    this.#batch = batch
    this.#keys = keys
    this.#policy = policy
  }

  /**
   * Appends an event and publishes it.
   *
   * @param rest the envelope as `writeRest` returns it
   * @returns the event's ID
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; Redis may have executed the publish nevertheless
   */
  publish (topic: string, rest: string): Promise<string> {
    const keys = [this.#keys.topicLog(topic)]
    return this.#batch.runScript(publish, keys, [this.#keys.topicChannel(topic), rest, this.#policy.retainCount(topic), this.#policy.retainMs, randomSequence()])
  }

  /**
   * Reads the entries after a position and renews the log's expiry.
   *
   * @param from an event ID; undefined returns the last ID only
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  read (topic: string, from: string | undefined): Promise<Page> {
    const args = [from ?? '', rowsPerPage, bytesPerPage, this.#policy.retainMs, randomSequence()]
    return this.#semaphore.run(() => this.#batch.runScript(read, [this.#keys.topicLog(topic)], args, 'background'))
  }

  /**
   * Compares positions with the ends of their logs, many in one call, and renews the expiry of logs that end there.
   *
   * @returns those whose log does not end at the position; those that Redis did not reply for are not among them
   */
  async compare (positions: readonly TopicPosition[]): Promise<TopicPosition[]> {
    return await selectByScript(positions, { isCluster: this.#isCluster(), itemsPerCall: positionsPerCall, run: (some) => this.#compareSome(some) })
  }

  #compareSome (positions: readonly TopicPosition[]): Promise<number[]> {
    const keys = positions.map(({ topic }) => this.#keys.topicLog(topic))
    return this.#batch.runScript(compare, keys, [this.#policy.retainMs, ...positions.map(({ position }) => position)], 'background')
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

/** Higher than any sequence that Redis reaches within a millisecond. */
function randomSequence (): number {
  return randomInt(2 ** 40, 2 ** 47)
}
