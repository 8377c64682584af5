import { Cluster } from 'ioredis'
import type { Command, Redis } from 'ioredis'
import { RedisUnavailableError } from '../shared/errors.ts'
import type { Role } from './connect.ts'
import { setTimeoutAfterIo } from './health/deadline.ts'
import { Resender } from './batch/resend.ts'
import type { ResendableCommand } from './batch/resend.ts'

/** A dedicated connection of one caller. It does not reconnect: its WATCH and transaction would be lost without notice, so every later command fails. */
export interface Lease extends AsyncDisposable {
  readonly client: Redis | Cluster
  /** Closes the connection, and with it any WATCH, transaction or blocked command. */
  release: () => void
}

/** Opens dedicated connections, at most `max` at a time. */
export class Leases {
  #open: (role: Role) => Redis | Cluster
  #max: number
  readonly #deadlineMs: number
  #taken = new Set<Redis | Cluster>()

  constructor (open: (role: Role) => Redis | Cluster, max: number, deadlineMs: number) {
    this.#open = open
    this.#max = max
    this.#deadlineMs = deadlineMs
  }

  /**
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE when `max` connections are in use, or the connection is not ready before the deadline
   */
  async take (role: Role): Promise<Lease> {
    if (this.#taken.size >= this.#max) throw new RedisUnavailableError('all leases are in use')
    const client = role === 'exclusive' ? bounded(this.#open(role), this.#deadlineMs) : this.#open(role)
    this.#taken.add(client)
    const release = () => {
      this.#taken.delete(client)
      client.disconnect()
    }
    await ready(client, this.#deadlineMs).catch((error) => {
      release()
      throw error
    })
    // A node that leaves the Cluster loses its WATCH.
    if (client instanceof Cluster) client.once('-node', release)
    return { client, release, [Symbol.asyncDispose]: async () => release() }
  }

  close (): void {
    for (const client of this.#taken) client.disconnect()
    this.#taken.clear()
  }
}

/** Every command settles before the deadline; one that timed out may still have been executed. */
function bounded (client: Redis | Cluster, deadlineMs: number): Redis | Cluster {
  const send: Cluster['sendCommand'] = client.sendCommand.bind(client)
  const resender = client instanceof Cluster ? new Resender(send) : undefined
  const sendInTime = (command: Command, stream?: Parameters<typeof send>[1], node?: unknown) => {
    const timer = setTimeoutAfterIo(deadlineMs, () => command.reject(new RedisUnavailableError(`no reply within ${deadlineMs} ms`)))
    const settled = () => clearTimeout(timer)
    command.promise.then(settled, settled)
    // A pipeline passes its node and handles redirections itself.
    if (resender === undefined || node !== undefined) return send(command, stream, node)
    sendOnce(command, resender)
    return command.promise
  }
  client.sendCommand = sendInTime
  return client
}

function sendOnce (command: Command, resender: Resender): void {
  const { reject } = command
  const sending: ResendableCommand = { command, resends: 0, get isOpen () { return !command.isSettled } }
  const fail = (error: Error) => { if (!resender.resend(sending, error)) reject(error) }
  command.reject = fail
  resender.send(command)
}

function ready (client: Redis | Cluster, deadlineMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeoutAfterIo(deadlineMs, () => reject(new RedisUnavailableError('no connection')))
  client.once('ready', () => resolve())
  client.once('end', () => reject(new RedisUnavailableError('no connection')))
  return promise.finally(() => clearTimeout(timer))
}
