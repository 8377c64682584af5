import { Readable } from 'node:stream'
import { LastEventIdError } from '../shared/errors.ts'
import type { CloudEvent } from '../events/event.ts'
import { LiveConnection } from './connection.ts'
import type { Client, ConnectionDeps } from './connection.ts'
import { bounds } from './options.ts'
import { nameOf, readPositions, writeBlock, writePositions } from './event-stream-format.ts'

/** The query parameters of an event stream. */
export interface StreamQuery {
  topic?: string | string[]
  since?: string
}

const topicName = { type: 'string', minLength: 1, maxLength: 128 }

/** The JSON schema of a {@link StreamQuery}. */
export const streamQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    topic: { anyOf: [{ type: 'array', minItems: 1, maxItems: bounds.topicsPerConnection, items: topicName }, topicName] },
    since: { type: 'string', maxLength: 10_000 }
  }
}

/**
 * Reads the topics and positions that a client requests. `Last-Event-ID` takes precedence: an EventSource updates it, but reconnects with its initial URL.
 *
 * @throws {LastEventIdError} for an invalid position
 */
export function readStart ({ topic = 'events', since }: StreamQuery, lastEventId: string | string[] | undefined): { topics: string[], positions: ReadonlyMap<string, string | undefined> } {
  const topics = [...new Set([topic].flat())]
  const text = [lastEventId ?? since ?? ''].flat().join()
  const positions = text === '' ? new Map<string, undefined>() : readPositions(text, topics)
  if (positions === undefined) throw new LastEventIdError()
  return { topics, positions }
}

/** The response that a stream is written to. */
interface Sink {
  /** bytes buffered in the response */
  readonly writableLength: number
  /** everything has been handed to the operating system */
  readonly writableFinished: boolean
  destroy (): unknown
}

/** How long a closed stream may flush its buffer, so that a slow client resumes from a later position. */
const closeTimeoutMs = 1000
/** The minimum reconnection delay; each client gets a random one, so that clients do not reconnect at the same time. */
const retryMs = 1000

/** A live connection over an event stream (Server-Sent Events). */
export class StreamConnection extends LiveConnection {
  readonly kind = 'stream'
  readonly body: Readable
  #sink: Sink
  #positions = new Map<string, string | undefined>()
  #timer: NodeJS.Timeout

  constructor (sink: Sink, client: Client, deps: ConnectionDeps) {
    super(client, deps)
    this.#sink = sink
    this.body = new Readable({ read: () => {}, highWaterMark: bounds.bufferedBytes, destroy: (error, done) => { this.ended(); done(error) } })
    this.#timer = setTimeout(() => this.close('restart'), bounds.streamMs * (0.95 + Math.random() * 0.05)).unref()
    this.#write([['retry', randomRetryMs()]])
  }

  /** Subscribes to topics, each from the client's position. */
  open (topics: readonly string[], positions: ReadonlyMap<string, string | undefined>): void {
    for (const topic of topics) this.#positions.set(topic, positions.get(topic))
    for (const topic of topics) this.follow(topic, positions.get(topic))
  }

  override ended (): void {
    clearTimeout(this.#timer)
    super.ended()
  }

  protected override get bufferedBytes (): number {
    return this.body.readableLength + this.#sink.writableLength
  }

  /** The client stores an ID without data as its last event ID, and dispatches nothing. */
  protected override begin (topic: string, id: string): void {
    this.#positions.set(topic, id)
    this.#write([['id', writePositions(this.#positions)]])
  }

  protected override send (topic: string, event: CloudEvent, text: string): void {
    if (event.id === undefined) return this.#write([['event', nameOf(event)], ['data', text]])
    this.#positions.set(topic, event.id)
    this.#write([['id', writePositions(this.#positions)], ['event', nameOf(event)], ['data', text]])
  }

  protected override reset (topic: string, id: string): void {
    this.#positions.set(topic, id)
    this.#write([['id', writePositions(this.#positions)], ['event', 'reset'], ['data', JSON.stringify({ topic, id })]])
  }

  /** A comment: proxies see traffic, and a write to a dead client's socket fails. */
  protected override ping (): void {
    this.body.push(':\n\n')
    if (this.bufferedBytes > bounds.bufferedBytes) this.close('slow')
  }

  protected override end (): void {
    this.#write([['retry', randomRetryMs()]])
    if (!this.body.destroyed) this.body.push(null)
    setTimeout(() => { if (!this.#sink.writableFinished) this.#sink.destroy() }, closeTimeoutMs).unref()
  }

  #write (fields: Parameters<typeof writeBlock>[0]): void {
    if (!this.body.destroyed) this.body.push(writeBlock(fields))
  }
}

/** A stream that only sets the reconnection delay: an EventSource does not reconnect after an error response. */
export function retryOnlyStream (afterMs = 0): string {
  return writeBlock([['retry', afterMs + randomRetryMs()]])
}

function randomRetryMs (): number {
  return Math.round(retryMs * (1 + Math.random() * 2))
}
