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
 * The response begins as a stream like any other, through all hooks. Where they leave it as it is, blocks are written to the response, and once its head and
 * the first blocks are with the socket, to the socket as chunks: an event is encoded once for all clients, and passes neither a stream nor the response.
 */
export class StreamConnection extends LiveConnection {
  readonly kind = 'stream'
  #sink: Sink
  /** holds the blocks until they are written to the response; the whole time if a hook has replaced the payload, and for HTTP/2 and HTTP/1.0 */
  #body: Readable | undefined
  /** the response that blocks are written to */
  #response: ServerResponse | undefined
  #socket: Socket | undefined
  /** for several topics: the position of each; the ID of the last event is the position of a single one */
  #positions: Map<string, string | undefined> | undefined
  /** when it is closed at the latest, milliseconds of `performance.now()` */
  readonly #endsAt = performance.now() + bounds.streamMs * (0.95 + Math.random() * 0.05)

  constructor (sink: Sink, client: Client, deps: ConnectionDeps) {
    super(client, deps)
    this.#sink = sink
    this.#body = new Readable({ read: noop, highWaterMark: bounds.bufferedBytes, destroy: (error, done) => { this.ended(); done(error) } })
    this.heartbeatAt = Math.min(this.heartbeatAt, this.#endsAt)
    this.#write([['retry', randomRetryMs()]])
  }

  /** The payload of the response; undefined once blocks are written to the response. */
  get body (): Readable | undefined {
    return this.#body
  }

  /** Subscribes to topics, each from the client's position. */
  open (topics: readonly string[], positions: ReadonlyMap<string, string | undefined>): void {
    if (topics.length > 1) this.#positions = new Map(topics.map((topic) => [topic, positions.get(topic)]))
    for (const topic of topics) this.follow(topic, positions.get(topic))
  }

  /** Writes to a chunked response from now on: what the body holds, then each block. The body, with its listeners, is not needed any more. */
  writeTo (response: ServerResponse): void {
    const body = this.#body
    this.#body = undefined
    this.#response = response
    if (response.destroyed) return
    for (let held: unknown = body?.read(); held !== null && held !== undefined; held = body?.read()) response.write(held)
    // Closed while hooks ran.
    if (body?.readableEnded === true || this.isClosed) response.end()
  }

  /** The response has ended, or its client has disconnected. */
  disconnected (): void {
    this.#body?.destroy()
    this.ended()
  }

  override heartbeat (now: number): void {
    if (now >= this.#endsAt) return this.close('restart')
    super.heartbeat(now)
    this.heartbeatAt = Math.min(this.heartbeatAt, this.#endsAt)
  }

  protected override get bufferedBytes (): number {
    return (this.#body?.readableLength ?? 0) + this.#sink.writableLength
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
    const socket = this.#socket ?? this.#takeSocket()
    if (socket === undefined) this.#push(encoded.block)
    else if (!socket.destroyed) socket.write(encoded.chunk)
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
    if (this.#body?.destroyed === false) this.#body.push(null)
    this.#response?.end()
    setTimeout(() => { if (!this.#sink.writableFinished) this.#sink.destroy() }, closeTimeoutMs).unref()
  }

  /** @returns the positions of all topics, as the client sends them to resume */
  #advance (topic: string, id: string): string {
    return this.#positions === undefined ? id : writePositions(this.#positions.set(topic, id))
  }

  #write (fields: Parameters<typeof writeBlock>[0]): void {
    this.#writeText(writeBlock(fields))
  }

  #writeText (text: string, bytes = Buffer.byteLength(text)): void {
    const socket = this.#socket ?? this.#takeSocket()
    if (socket === undefined) this.#push(text)
    else if (!socket.destroyed) socket.write(writeChunk(text, bytes))
  }

  #push (block: string | Buffer): void {
    if (this.#body?.destroyed === false) this.#body.push(block)
    else if (this.#response?.destroyed === false) this.#response.write(block)
  }

  /** The socket, once the response has sent its head and holds nothing back: a pipelined response has none until it is the first. */
  #takeSocket (): Socket | undefined {
    const response = this.#response
    if (response === undefined || !response.headersSent || !response.chunkedEncoding) return undefined
    const { socket } = response
    if (socket !== null && response.writableLength === socket.writableLength) this.#socket = socket
    return this.#socket
  }
}

function noop (): void {}

/** A stream that only sets the reconnection delay: an EventSource does not reconnect after an error response. */
export function retryOnlyStream (afterMs = 0): string {
  return writeBlock([['retry', afterMs + randomRetryMs()]])
}

function randomRetryMs (): number {
  return Math.round(retryMs * (1 + Math.random() * 2))
}
