import type { Writable } from 'node:stream'
import type { RawData, WebSocket } from 'ws'
import type { CloudEvent } from '../events/event.ts'
import { TokenBucket } from './token-bucket.ts'
import { LiveConnection } from './connection.ts'
import type { Client, ConnectionDeps } from './connection.ts'
import { EncodedEvents } from './encoded-events.ts'
import { closeCodes, encodeFrame, pingFrame, readFrame } from './frame.ts'
import type { CloseReason, ServerFrame } from './frame.ts'
import { bounds } from './options.ts'

/** How long a client may take to reply to a close frame. */
const closeTimeoutMs = 1000
const frames = new EncodedEvents((topic, _event, text) => encodeFrame(topic, text))

const owner = Symbol('connection')
type OwnedSocket = WebSocket & { [owner]: WebSocketConnection }

// Shared by all sockets: five closures for each one are a tenth of its memory.
function onMessage (this: WebSocket, data: RawData, isBinary: boolean): void {
  (this as OwnedSocket)[owner].received(data.toString(), isBinary)
}

function onPong (this: WebSocket): void {
  (this as OwnedSocket)[owner].ponged()
}

function onPing (this: WebSocket): void {
  (this as OwnedSocket)[owner].pinged()
}

function onClose (this: WebSocket): void {
  (this as OwnedSocket)[owner].ended()
}

function onError (this: WebSocket, error: Error): void {
  (this as OwnedSocket)[owner].failed(error)
}

/** A live connection over a WebSocket: JSON text frames in both directions, see docs/events.md. */
export class WebSocketConnection extends LiveConnection {
  readonly kind = 'websocket'
  #socket: WebSocket
  #wire: Writable | undefined
  #tokenBucket = new TokenBucket(bounds.framesAtOnce, bounds.framesPerSecond)
  #isAlive = true

  /**
   * @param wire the TCP or TLS socket under a WebSocket without extensions. Events are written to it as complete frames, one for all clients: without
   * compression ws queues nothing, so these frames and its own keep their order
   */
  constructor (socket: WebSocket, wire: Writable | undefined, client: Client, deps: ConnectionDeps) {
    super(client, deps)
    this.#wire = wire
    this.#socket = socket
    Object.assign(socket, { [owner]: this })
    socket.on('message', onMessage)
    socket.on('pong', onPong)
    // A client's pings count too: each causes a pong.
    socket.on('ping', onPing)
    socket.on('close', onClose)
    socket.on('error', onError)
  }

  pinged (): void {
    this.#consumeToken()
  }

  failed (error: Error): void {
    this.deps.onSocketError(error)
    this.#socket.terminate()
  }

  ponged (): void {
    this.#isAlive = true
  }

  protected override get bufferedBytes (): number {
    return this.#socket.bufferedAmount
  }

  override begin (topic: string, id: string): void {
    this.#send({ type: 'subscribed', topic, id })
  }

  protected override send (topic: string, event: CloudEvent, text: string): void {
    const { frame, payload } = frames.of(topic, event, text)
    if (this.#socket.readyState !== this.#socket.OPEN) return
    if (this.#wire === undefined) this.#socket.send(payload, { binary: false })
    else this.#wire.write(frame)
  }

  override reset (topic: string, id: string): void {
    this.#send({ type: 'reset', topic, id })
  }

  protected override ping (): void {
    if (!this.#isAlive) return this.#socket.terminate()
    this.#isAlive = false
    if (this.#wire === undefined) this.#socket.ping()
    else if (this.#socket.readyState === this.#socket.OPEN) this.#wire.write(pingFrame)
  }

  protected override end (reason: CloseReason): void {
    this.#socket.close(closeCodes[reason])
    setTimeout(() => this.#socket.terminate(), closeTimeoutMs).unref()
  }

  received (text: string, isBinary: boolean): void {
    this.#isAlive = true
    if (this.isClosed || !this.#consumeToken()) return
    if (isBinary) return this.close('unsupported')
    const frame = readFrame(text)
    if (typeof frame === 'string') return this.#send({ type: 'error', code: 'PRISM_ERR_FRAME', detail: frame })
    if (frame.type === 'ping') return this.#send({ type: 'pong' })
    if (frame.type === 'subscribe') return this.#subscribe(frame.topic, frame.since)
    this.unfollow(frame.topic)
  }

  #subscribe (topic: string, since: string | undefined): void {
    try {
      this.follow(topic, since)
    } catch (error) {
      this.#send({ type: 'error', ...this.#describeError(error), topic: topic.slice(0, 128) })
    }
  }

  /** A topic rule of the app may throw anything; the client must not see it. */
  #describeError (error: unknown): { code: string, detail: string } {
    if (error instanceof Error && 'code' in error && 'statusCode' in error) return { code: String(error.code), detail: error.message }
    this.deps.onFailure(error)
    return { code: 'PRISM_ERR_INTERNAL', detail: 'Internal error.' }
  }

  /** @returns whether the client may send a frame; closes the connection otherwise */
  #consumeToken (): boolean {
    if (this.#tokenBucket.take()) return true
    this.close('flood')
    return false
  }

  /** Replies count as well: a client that sends frames and does not read is disconnected. */
  #send (frame: ServerFrame): void {
    this.#socket.send(JSON.stringify(frame))
    if (this.bufferedBytes > bounds.bufferedBytes) this.close('slow')
  }
}
