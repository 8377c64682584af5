import { Duplex } from 'node:stream'
import { ClientConnection } from './client-connection.ts'
import type { ServerState } from './server-state.ts'

/** The client's end of a connection to an in-memory server: what ioredis uses of a `net.Socket`. It keeps no process alive. */
export class MemorySocket extends Duplex {
  bytesRead = 0
  readonly connecting = false
  readonly #connection: ClientConnection

  constructor (server: ServerState) {
    super()
    this.#connection = new ClientConnection(server, {
      receive: (bytes) => {
        if (this.destroyed) return
        this.bytesRead += bytes.length
        this.push(bytes)
      },
      closed: () => { if (!this.destroyed) this.push(null) }
    })
  }

  setNoDelay (): this {
    return this
  }

  setKeepAlive (): this {
    return this
  }

  setTimeout (): this {
    return this
  }

  ref (): this {
    return this
  }

  unref (): this {
    return this
  }

  override _read (): void {}

  override _write (chunk: Buffer | string, encoding: BufferEncoding, done: () => void): void {
    this.#connection.receive(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk)
    done()
  }

  override _final (done: () => void): void {
    this.#connection.end()
    done()
  }

  /** Commands that were written are executed, as by a server that had received them. */
  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    this.#connection.end()
    done(error)
  }
}
