import type { Socket } from 'node:net'
import { CommandReader } from './command-reader.ts'
import { Lane } from './connection.ts'

/** What clients themselves send on a new connection, before anyone's own command. */
const GREETINGS = new Set(['HELLO', 'AUTH', 'SELECT', 'CLIENT', 'INFO', 'READONLY', 'CLUSTER'])

/** What a link tells of its traffic. */
export interface LinkOptions {
  /** Where the server is. */
  host: string
  port: number
  /** Where commands are counted by name. */
  commands: Map<string, number>
}

/** One client's connection through the proxy: its socket, the server's, and a lane each way. */
export class Link {
  readonly client: Socket
  readonly server: Socket
  /** To the server. */
  readonly up: Lane
  /** To the client. */
  readonly down: Lane
  /** True once the client sent a command beyond its greeting. */
  isGreeted = false
  /** Commands that the client has sent since the server said something. */
  readonly unanswered = new Set<string>()
  /** True once neither side is told what becomes of the other. */
  #isSplit = false
  readonly #reader: CommandReader
  readonly #to: LinkOptions

  constructor (client: Socket, server: Socket, options: LinkOptions) {
    this.client = client
    this.server = server
    this.#to = options
    this.up = new Lane(server)
    this.down = new Lane(client)
    this.#reader = new CommandReader(options.commands)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => {}) // told by the close that follows
    }
  }

  /** Connects to the server. */
  dial (): void {
    this.server.connect(this.#to.port, this.#to.host)
  }

  /** Counts the commands that end in this chunk from the client. */
  read (chunk: Buffer): void {
    const names = this.#reader.push(chunk)
    for (const name of names) this.unanswered.add(name)
    this.isGreeted ||= names.some((name) => !GREETINGS.has(name))
  }

  /** Lets nothing through any more, either way, and closes nothing. */
  mute (): void {
    this.#isSplit = true
    this.up.mute()
    this.down.mute()
  }

  /** Keeps everything back, either way, until `release`. */
  hold (): void {
    this.up.hold()
    this.down.hold()
  }

  /** Delivers what was kept back. */
  release (): void {
    this.up.release()
    this.down.release()
  }

  /** Delivers at once what is under way at a slow pace. */
  hurry (): void {
    this.up.hurry()
    this.down.hurry()
  }

  /** Ends both sockets at once. */
  close (): void {
    this.client.destroy()
    this.server.destroy()
  }

  /** Ends both with a TCP reset. */
  reset (): void {
    // A socket that is being shut down cannot be reset: its handle would stay, and Node spin at its exit.
    if (this.client.writableEnded) this.client.destroy()
    else this.client.resetAndDestroy()
    this.server.destroy()
  }

  /** Takes the server away; the client is not told. */
  loseServer (): void {
    this.mute()
    this.server.destroy()
  }

  /** Takes the client away; the server is not told. */
  loseClient (): void {
    this.mute()
    this.client.destroy()
  }

  /** True once both sockets are closed, or never opened. */
  get isOver (): boolean {
    return this.client.destroyed && (this.server.destroyed || this.server.pending)
  }

  /** The client's socket closed: so does the server's, unless an orderly end is on its way to it. */
  clientClosed (): void {
    if (!this.#isSplit && !this.client.readableEnded) this.server.destroy()
  }

  /** The server's socket closed: so does the client's, unless an orderly end is on its way to it. */
  serverClosed (): void {
    if (!this.#isSplit && !this.server.readableEnded) this.client.destroy()
  }
}
