import type { Cluster, Command } from 'ioredis'

/** A command that may be sent again while its caller waits. */
export interface ResendableCommand {
  command: Command
  /** false after its reply or its deadline */
  readonly isOpen: boolean
  /** number of repeated sends */
  resends: number
}

const maxResends = 8
/** Delay before a command is sent again: until a node is connected, or keys have reached the node that a slot moves to. */
const againMs = 20

/** Errors that a server replies instead of executing a command. The whole text is compared, because a caller's script may fail with a similar text after it has written. */
const redirection = /^(?:MOVED|ASK) \d+ \S+$/
const notYet = /^TRYAGAIN Multiple keys request during rehashing of slot$/

/**
 * Sends commands through a Cluster client, and sends a command again only when it was certainly not executed: the server redirected it, or it was never
 * written to a socket. A command whose connection broke before its reply may have been executed: it fails. Nothing is sent after its deadline.
 *
 * ioredis follows redirections without a deadline, so it may do that only while the caller waits.
 */
export class Resender {
  readonly #send: Cluster['sendCommand']

  /** @param send the Cluster client's own `sendCommand` */
  constructor (send: Cluster['sendCommand']) {
    this.#send = send
  }

  /** Sends to the node that the slot map names. Redirections reject the command, for {@link resend}. */
  send (command: Command): void {
    // With a `node` argument, even one without a connection, ioredis sends once and does not follow redirections.
    this.#send(command, undefined, { slot: command.getSlot(), redis: undefined })
  }

  /**
   * Call with each error of a command, before the error is reported.
   *
   * @returns whether the command is sent again, now or after 20 ms; its `reject` is then called if that fails too
   */
  resend (sending: ResendableCommand, error: Error): boolean {
    if (!sending.isOpen || sending.resends >= maxResends) return false
    const isRedirected = error.name === 'ReplyError' && redirection.test(error.message)
    const isEarly = isRedirected || (error.name === 'ReplyError' ? notYet.test(error.message) : hasNeverLeft(sending.command, error))
    if (!isEarly) return false
    sending.resends += 1
    if (isRedirected) this.#followRedirection(sending)
    else setTimeout(() => this.#again(sending, error), againMs)
    return true
  }

  #again (sending: ResendableCommand, error: Error): void {
    if (sending.isOpen) this.send(sending.command)
    else sending.command.reject(error)
  }

  /** Lets ioredis send this command to the node that the redirection names. */
  #followRedirection (sending: ResendableCommand): void {
    const { command } = sending
    const own = command.reject
    forget(command)
    this.#send(command)
    const follow = command.reject
    // ioredis wraps the `reject` of a command once only.
    if (follow === own) return
    const fail = (error: Error) => {
      if (!sending.isOpen || !redirection.test(error.message)) return own(error)
      forget(command)
      follow(error)
    }
    command.reject = fail
  }
}

/** Marks a redirected command as not written: it was not executed. */
function forget (command: Command): void {
  command.isTraced = false
}

/** ioredis sets `isTraced` when it writes a command to a socket. */
function hasNeverLeft (command: Command, error: Error): boolean {
  return !command.isTraced && error.message === 'Connection is closed.'
}
