import type { ClientState } from './call.ts'
import { CommandParser, ProtocolError } from './command-parser.ts'
import { discard } from './commands/transactions.ts'
import { unsubscribeAll } from './commands/subscriptions.ts'
import { execute } from './execute.ts'
import { isEngineLoaded, loadEngine } from './lua-engine.ts'
import { encodeReply, ErrorReply } from './reply.ts'
import type { Reply } from './reply.ts'
import type { ServerState } from './server-state.ts'

/** The client's end of the connection. */
interface Peer {
  /** bytes of replies and messages */
  receive (bytes: Buffer): void
  /** the server has closed the connection */
  closed (): void
}

let lastId = 0

/** The server's end of one connection: executes commands in order, and sends the replies of one turn of the event loop together. */
export class ClientConnection implements ClientState {
  readonly id = ++lastId
  protocol: 2 | 3 = 2
  database = 0
  name = ''
  readonly channels = new Set<string>()
  readonly patterns = new Set<string>()
  queue: Buffer[][] | undefined
  hasQueueError = false
  isDirty = false
  readonly #server: ServerState
  readonly #peer: Peer
  readonly #parser = new CommandParser()
  #out: Buffer[] = []
  #isScheduled = false
  #isEnding = false
  #isClosed = false

  constructor (server: ServerState, peer: Peer) {
    this.#server = server
    this.#peer = peer
    server.counts.connections += 1
    server.clients.set(this.id, this)
  }

  /** Takes bytes from the client. They are executed in a later turn of the event loop, as those of a socket. */
  receive (bytes: Buffer): void {
    this.#parser.push(bytes)
    this.#schedule()
  }

  /** The client sends nothing more: what it has sent is executed. */
  end (): void {
    this.#isEnding = true
    this.#schedule()
  }

  send (message: Reply): void {
    if (this.#isClosed) return
    encodeReply(message, this.protocol, this.#out)
    this.#schedule()
  }

  quit (): void {
    this.#isEnding = true
  }

  #schedule (): void {
    if (this.#isScheduled || this.#isClosed) return
    this.#isScheduled = true
    setImmediate(() => this.#run())
  }

  #run (): void {
    if (!isEngineLoaded()) {
      // Commands are executed in order, so all of them wait.
      const again = () => { this.#run() }
      loadEngine().then(again, () => { this.#close() })
      return
    }
    try {
      this.#executeAll()
    } catch (error) {
      // A command that fails in an unexpected way ends the connection, not the process.
      const text = error instanceof ProtocolError ? error.message : 'internal error of the in-memory server'
      encodeReply(new ErrorReply(`ERR ${text}`), this.protocol, this.#out)
      this.#isEnding = true
    }
    this.#isScheduled = false
    this.#flush()
    if (this.#isEnding) this.#close()
  }

  #executeAll (): void {
    for (let args = this.#parser.next(); args !== undefined; args = this.#parser.next()) {
      const reply = execute(this.#server, this, args)
      if (reply !== undefined) encodeReply(reply, this.protocol, this.#out)
    }
  }

  #flush (): void {
    const out = this.#out
    this.#out = []
    if (out.length > 0) this.#peer.receive(Buffer.concat(out))
  }

  #close (): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#server.clients.delete(this.id)
    unsubscribeAll({ client: this, server: this.#server })
    discard({ client: this, server: this.#server })
    this.#peer.closed()
  }
}
