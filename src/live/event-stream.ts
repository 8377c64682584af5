import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { LastEventIdError } from '../shared/errors.ts'
import type { CloudEvent } from '../events/event.ts'
import { LiveConnection } from './connection.ts'
import type { Client, ConnectionDeps } from './connection.ts'
import { EncodedEvents } from './encoded-events.ts'
import type { CloseReason } from './frame.ts'
import { bounds } from './options.ts'
import { encodeBlock, readPositions, writeBlock, writeChunk, writePositions } from './event-stream-format.ts'

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

const blocks = new EncodedEvents((_topic, event, text) => encodeBlock(event as CloudEvent, text))
const comment = ':\n\n'

/** How long a closed stream may flush its buffer, so that a slow client resumes from a later position. */
const closeTimeoutMs = 1000
/** The minimum reconnection delay; each client gets a random one, so that clients do not reconnect at the same time. */
const retryMs = 1000

/**
 * A live connection over an event stream (Server-Sent Events).
 *
 * The response begins as a stream like any other, through all hooks. Once its head and the first blocks are with the socket, blocks are written to the
 * socket as chunks: an event is encoded once for all clients, and passes neither the stream nor the response.
 */
export class StreamConnection extends LiveConnection {
  readonly kind = 'stream'
  readonly body: Readable
  #sink: Sink
  /** the response that the body is piped to, while its socket may still be used */
  #response: ServerResponse | undefined
  #socket: Socket | undefined
  /** for several topics: the position of each; the ID of the last event is the position of a single one */
  #positions: Map<string, string | undefined> | undefined
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
    if (topics.length > 1) this.#positions = new Map(topics.map((topic) => [topic, positions.get(topic)]))
    for (const topic of topics) this.follow(topic, positions.get(topic))
  }

  /** The body is piped to its response, unchanged. */
  onPiped (response: ServerResponse): void {
    this.#response = response
  }

  override ended (): void {
    clearTimeout(this.#timer)
    super.ended()
  }

  protected override get bufferedBytes (): number {
    return this.body.readableLength + this.#sink.writableLength
  }

  /** The client stores an ID without data as its last event ID, and dispatches nothing. */
  override begin (topic: string, id: string): void {
    this.#write([['id', this.#advance(topic, id)]])
  }

  protected override send (topic: string, event: CloudEvent, text: string): void {
    const encoded = blocks.of(topic, event, text)
    if (event.id !== undefined && this.#positions !== undefined) {
      const id = `id: ${this.#advance(topic, event.id)}\n`
      return this.#writeText(id + encoded.rest, id.length + encoded.restBytes)
    }
    if (this.body.destroyed) return
    const socket = this.#takeSocket()
    if (socket === undefined) this.body.push(encoded.block)
    else socket.write(encoded.chunk)
  }

  override reset (topic: string, id: string): void {
    this.#write([['id', this.#advance(topic, id)], ['event', 'reset'], ['data', JSON.stringify({ topic, id })]])
  }

  /** A comment: proxies see traffic, and a write to a dead client's socket fails. */
  protected override ping (): void {
    this.#writeText(comment)
    if (this.bufferedBytes > bounds.bufferedBytes) this.close('slow')
  }

  protected override end (_reason: CloseReason, retryAfterMs: number): void {
    this.#write([['retry', Math.ceil(retryAfterMs) + randomRetryMs()]])
    if (!this.body.destroyed) this.#endBody()
    setTimeout(() => { if (!this.#sink.writableFinished) this.#sink.destroy() }, closeTimeoutMs).unref()
  }

  /** @returns the positions of all topics, as the client sends them to resume */
  #advance (topic: string, id: string): string {
    return this.#positions === undefined ? id : writePositions(this.#positions.set(topic, id))
  }

  #endBody (): void {
    this.body.push(null)
    if (this.#socket === undefined) return
    // Nothing reads the body any more, and Fastify waits for its end.
    this.body.resume()
    this.#response?.end()
  }

  #write (fields: Parameters<typeof writeBlock>[0]): void {
    this.#writeText(writeBlock(fields))
  }

  #writeText (text: string, bytes = Buffer.byteLength(text)): void {
    if (this.body.destroyed) return
    const socket = this.#takeSocket()
    if (socket === undefined) this.body.push(text)
    else socket.write(writeChunk(text, bytes))
  }

  /**
   * The socket, once everything before is with it: the body is empty, and the response has sent its head and holds nothing back. Other responses keep
   * their stream: HTTP/2, HTTP/1.0, a pipelined response until it is the first, and a payload that a hook has replaced.
   */
  #takeSocket (): Socket | undefined {
    const response = this.#response
    if (this.#socket !== undefined || response === undefined || !response.headersSent) return this.#socket
    if (!response.chunkedEncoding) this.#response = undefined
    const { socket } = response
    if (!response.chunkedEncoding || socket === null || this.body.readableLength > 0 || response.writableLength !== socket.writableLength) return undefined
    this.body.unpipe(response)
    this.#socket = socket
    return socket
  }
}

/** A stream that only sets the reconnection delay: an EventSource does not reconnect after an error response. */
export function retryOnlyStream (afterMs = 0): string {
  return writeBlock([['retry', afterMs + randomRetryMs()]])
}

function randomRetryMs (): number {
  return Math.round(retryMs * (1 + Math.random() * 2))
}
