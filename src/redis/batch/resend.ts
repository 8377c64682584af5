import type { Cluster, Command } from 'ioredis'

/** A command and whether its caller still waits for it. */
export interface ResendableCommand {
  command: Command
  /** false once it was answered, or its deadline is over */
  readonly isOpen: boolean
  /** how often it was sent again */
  resends: number
}

const maxResends = 8
/** Until a node is connected, or keys have reached the node that a slot moves to. */
const againMs = 20

/** Replies that a server gives in place of running a command: word for word, for a script of the caller's own may fail with a similar text after it has written. */
const redirection = /^(?:MOVED|ASK) \d+ \S+$/
const notYet = /^TRYAGAIN Multiple keys request during rehashing of slot$/

/**
 * Sends commands by a Cluster's client, and sends again only what is known not to have run: what the server has redirected, and what never left this
 * process. A command whose connection broke before its reply may have run: it fails. Nothing is sent after its deadline.
 *
 * ioredis follows redirections by itself, and knows no deadline; so it is asked to only while the caller waits.
 */
export class Resender {
  readonly #send: Cluster['sendCommand']

  /** @param send what sends by the client */
  constructor (send: Cluster['sendCommand']) {
    this.#send = send
  }

  /** Sends to the node that the slot map names. Redirections are errors here, for {@link resend}. */
  send (command: Command): void {
    // With a node given, though none is chosen yet, ioredis sends once and does not follow the reply.
    this.#send(command, undefined, { slot: command.getSlot(), redis: undefined })
  }

  /**
   * To be asked about each error of a command, before anything is told of it.
   *
   * @returns whether the command is sent again, now or in a moment; its `reject` is then called for what becomes of that
   */
  resend (sending: ResendableCommand, error: Error): boolean {
    if (!sending.isOpen || sending.resends >= maxResends) return false
    const isRedirected = error.name === 'ReplyError' && redirection.test(error.message)
    const isEarly = isRedirected || (error.name === 'ReplyError' ? notYet.test(error.message) : hasNeverLeft(sending.command, error))
    if (!isEarly) return false
    sending.resends += 1
    if (isRedirected) this.#follow(sending)
    else setTimeout(() => this.#again(sending, error), againMs)
    return true
  }

  #again (sending: ResendableCommand, error: Error): void {
    if (sending.isOpen) this.send(sending.command)
    else sending.command.reject(error)
  }

  /** Leaves this command to ioredis, which asks the node that the reply names. */
  #follow (sending: ResendableCommand): void {
    const { command } = sending
    const own = command.reject
    forget(command)
    this.#send(command)
    const follow = command.reject
    // It wraps a command once.
    if (follow === own) return
    command.reject = (error) => {
      if (!sending.isOpen || !redirection.test(error.message)) return own(error)
      forget(command)
      follow(error)
    }
  }
}

/** What was redirected has not run: as far as that goes it has not left yet. */
function forget (command: Command): void {
  command.isTraced = false
}

/** ioredis marks what it has written to a socket. */
function hasNeverLeft (command: Command, error: Error): boolean {
  return !command.isTraced && error.message === 'Connection is closed.'
}
