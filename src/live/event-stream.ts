import { Readable } from 'node:stream'
import { LastEventIdError } from '../shared/errors.ts'
import type { CloudEvent } from '../events/event.ts'
import { LiveConnection } from './connection.ts'
import type { Client, ConnectionDeps } from './connection.ts'
import { bounds } from './options.ts'
import { nameOf, readPositions, writeBlock, writePositions } from './event-stream-format.ts'

/** What a client asks for. */
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
 * Reads which topics a client wants, and where it stood in them. What an EventSource keeps by itself (`Last-Event-ID`) is newer than its address.
 *
 * @throws {PositionError} PRISM_ERR_LAST_EVENT_ID
 */
export function readStart ({ topic = 'events', since }: StreamQuery, lastEventId: string | string[] | undefined): { topics: string[], positions: ReadonlyMap<string, string | undefined> } {
  const topics = [...new Set([topic].flat())]
  const text = [lastEventId ?? since ?? ''].flat().join()
  const positions = text === '' ? new Map<string, undefined>() : readPositions(text, topics)
  if (positions === undefined) throw new LastEventIdError()
  return { topics, positions }
}

/** What a stream is sent on with. */
export interface Sink {
  /** bytes that wait in the reply */
  readonly writableLength: number
  /** all of it has left */
  readonly writableFinished: boolean
  destroy (): unknown
}

/** How long a client may take to read the rest: who is too slow shall have come further when he comes again. */
const closeTimeoutMs = 1000
/** How long clients wait before they come again, at the least: drawn anew for each, so that they do not come as one. */
const retryMs = 1000

/** A client at an event stream (Server-Sent Events). */
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
    this.#write([['retry', drawRetryMs()]])
  }

  /** Follows topics, each from where the client stood. */
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

  /** An id without data is kept by the client, and nothing is dispatched. */
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

  /** A comment: what is on the way sees that the connection lives, and a dead client's socket fails. */
  protected override ping (): void {
    this.body.push(':\n\n')
    if (this.bufferedBytes > bounds.bufferedBytes) this.close('slow')
  }

  protected override end (): void {
    this.#write([['retry', drawRetryMs()]])
    if (!this.body.destroyed) this.body.push(null)
    setTimeout(() => { if (!this.#sink.writableFinished) this.#sink.destroy() }, closeTimeoutMs).unref()
  }

  #write (fields: Parameters<typeof writeBlock>[0]): void {
    if (!this.body.destroyed) this.body.push(writeBlock(fields))
  }
}

/** A stream for who is to come again: an EventSource that is refused never does. */
export function retryOnlyStream (afterMs = 0): string {
  return writeBlock([['retry', afterMs + drawRetryMs()]])
}

function drawRetryMs (): number {
  return Math.round(retryMs * (1 + Math.random() * 2))
}
