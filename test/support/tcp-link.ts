import type { Socket } from 'node:net'
import { CommandReader } from './command-reader.ts'
import { Direction } from './direction.ts'

/** Commands that clients themselves send on a new connection, before commands of the caller. */
const GREETINGS = new Set(['HELLO', 'AUTH', 'SELECT', 'CLIENT', 'INFO', 'READONLY', 'CLUSTER'])

/** Destination of a link's statistics. */
export interface LinkOptions {
  /** Where the server is. */
  host: string
  port: number
  /** Where commands are counted by name. */
  commands: Map<string, number>
}

/** One client's connection through the proxy: both sockets, and both directions. */
export class Link {
  readonly client: Socket
  readonly server: Socket
  /** To the server. */
  readonly up: Direction
  /** To the client. */
  readonly down: Direction
  /** true once the client sent a command beyond its handshake */
  isGreeted = false
  /** commands sent by the client since the last bytes of the server */
  readonly withoutReply = new Set<string>()
  /** true once neither side is informed about the other */
  #isSplit = false
  readonly #reader: CommandReader
  readonly #to: LinkOptions

  constructor (client: Socket, server: Socket, options: LinkOptions) {
    this.client = client
    this.server = server
    this.#to = options
    this.up = new Direction(server)
    this.down = new Direction(client)
    this.#reader = new CommandReader(options.commands)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => {}) // the close that follows reports it
    }
  }

  /** Connects to the server. */
  dial (): void {
    this.server.connect(this.#to.port, this.#to.host)
  }

  /** Counts the commands that end in this chunk of the client. */
  read (chunk: Buffer): void {
    const names = this.#reader.push(chunk)
    for (const name of names) this.withoutReply.add(name)
    this.isGreeted ||= names.some((name) => !GREETINGS.has(name))
  }

  /** Transfers nothing more in either direction, and closes nothing. */
  mute (): void {
    this.#isSplit = true
    this.up.mute()
    this.down.mute()
  }

  /** Holds everything in both directions until `release`. */
  hold (): void {
    this.up.hold()
    this.down.hold()
  }

  /** Delivers what was held. */
  release (): void {
    this.up.release()
    this.down.release()
  }

  /** Delivers delayed chunks at once. */
  hurry (): void {
    this.up.hurry()
    this.down.hurry()
  }

  /** Closes both sockets at once. */
  close (): void {
    this.client.destroy()
    this.server.destroy()
  }

  /** Ends both with a TCP reset. */
  reset (): void {
    // A socket in shutdown cannot be reset: its handle would stay, and Node would spin at its exit.
    if (this.client.writableEnded) this.client.destroy()
    else this.client.resetAndDestroy()
    this.server.destroy()
  }

  /** Removes the server; the client is not informed. */
  loseServer (): void {
    this.mute()
    this.server.destroy()
  }

  /** Removes the client; the server is not informed. */
  loseClient (): void {
    this.mute()
    this.client.destroy()
  }

  /** true once both sockets are closed, or never opened */
  get isOver (): boolean {
    return this.client.destroyed && (this.server.destroyed || this.server.pending)
  }

  /** The client's socket closed: closes the server's, unless an orderly end is on its way to it. */
  clientClosed (): void {
    if (!this.#isSplit && !this.client.readableEnded) this.server.destroy()
  }

  /** The server's socket closed: closes the client's, unless an orderly end is on its way to it. */
  serverClosed (): void {
    if (!this.#isSplit && !this.server.readableEnded) this.client.destroy()
  }
}
