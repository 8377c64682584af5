import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import { defaultDeadlineMs, slownessOf } from './health/deadline.ts'

/** Who listens to one channel. */
export interface ChannelListener {
  /** something was published there */
  onMessage: (message: string) => void
  /** from now on all that is published is heard; told again after each loss of the connection */
  onSubscribed: () => void
}

const pingEveryMs = 1000
/** Less than from one question to the next, for timers may come early. */
const patienceMs = 900
const channelsPerCommand = 256
const reopenAfterMs = 100

/**
 * One connection for Pub/Sub, opened with the first channel. A connection that is dead or half open is found within 2.5 s, and replaced:
 * it is asked each second, and has until the next one to answer.
 */
export class Subscriber {
  /** Connections that became ready since the start. */
  connections = 0
  #open: () => Redis | Cluster
  #client: Redis | undefined
  /** while a node of it is looked for */
  #cluster: Cluster | undefined
  #listeners = new Map<string, ChannelListener>()
  #joined = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  readonly #slowness: number
  readonly #onRefusal: (error: Error) => void
  #isClosed = false
  /** since when the server owes a word; undefined when it owes none */
  #askedAt: number | undefined

  /**
   * @param onRefusal told of each time that the server does not let it listen
   * @param deadlineMs how long an answer to a command is waited for; the times here grow with it
   */
  constructor (open: () => Redis | Cluster, onRefusal: (error: Error) => void, deadlineMs = defaultDeadlineMs) {
    this.#open = open
    this.#onRefusal = onRefusal
    this.#slowness = slownessOf(deadlineMs)
  }

  get isReady (): boolean {
    return this.#client?.status === 'ready'
  }

  /** Listens to a channel, in place of whoever did. */
  join (channel: string, listener: ChannelListener): void {
    this.#listeners.set(channel, listener)
    if (this.#client !== undefined) this.#subscribe(this.#client, [channel])
    else if (this.#cluster === undefined) this.#connect()
  }

  leave (channel: string): void {
    this.#listeners.delete(channel)
    this.#joined.delete(channel)
    // Where it fails the connection is gone, and its channels with it.
    if (this.isReady) this.#client?.unsubscribe(channel).catch(() => {})
  }

  /** Gives the connection up for another one: it answers, but does not bring what was published. */
  replace (): void {
    this.#askedAt = undefined
    this.#client?.disconnect(true)
  }

  close (): void {
    this.#isClosed = true
    clearInterval(this.#timer)
    this.#listeners.clear()
    this.#client?.disconnect()
    this.#cluster?.disconnect()
  }

  #connect (): void {
    if (this.#isClosed) return
    const opened = this.#open()
    if (opened instanceof Cluster) this.#choose(opened)
    else this.#use(opened)
  }

  /** Every node of a Cluster hears every channel: one is taken by chance, and another one when it fails. */
  #choose (cluster: Cluster): void {
    this.#cluster = cluster
    cluster.once('ready', () => {
      const nodes = cluster.nodes('all')
      const node = nodes[Math.floor(Math.random() * nodes.length)]
      const client = node?.duplicate({ lazyConnect: false, retryStrategy: () => null })
      this.#cluster = undefined
      cluster.disconnect()
      if (client === undefined) return this.#reopen()
      client.on('error', () => {}) // told by its end
      this.#use(client)
    })
    cluster.once('end', () => { if (this.#cluster === cluster) this.#reopen() })
  }

  #use (client: Redis): void {
    if (this.#isClosed) return client.disconnect()
    this.#client = client
    // It would join the channels by itself, and let nobody hear that this failed: an app that closes just then would end with an unhandled rejection.
    client.options.autoResubscribe = false
    this.#timer ??= setInterval(() => setImmediate(() => this.#check()), pingEveryMs * this.#slowness).unref()
    client.on('message', (channel: string, message: string) => this.#listeners.get(channel)?.onMessage(message))
    client.on('connect', () => { this.#askedAt = performance.now() })
    client.on('close', () => {
      this.#askedAt = undefined
      this.#joined.clear()
    })
    client.on('ready', () => {
      this.#askedAt = undefined
      this.connections += 1
      this.#subscribe(client, [...this.#listeners.keys()])
    })
    client.on('end', () => this.#reopen())
  }

  #reopen (): void {
    if (!this.#isClosed) setTimeout(() => this.#connect(), reopenAfterMs).unref()
  }

  /**
   * Gives up a connection whose answer has not come, asks whether this one lives, and for the channels that it was refused. What arrived
   * while the event loop stood still has been read before.
   */
  #check (): void {
    const client = this.#client
    if (this.#askedAt !== undefined && performance.now() - this.#askedAt > patienceMs * this.#slowness) return this.replace()
    if (client?.status !== 'ready') return
    this.#askedAt ??= performance.now()
    const heard = () => { this.#askedAt = undefined }
    // An answer, though PING may be denied; any other failure is told by its end.
    client.ping().then(heard, (error: Error) => { if (error.name === 'ReplyError') heard() })
    this.#subscribe(client, [...this.#listeners.keys()].filter((channel) => !this.#joined.has(channel)))
  }

  #subscribe (client: Redis, channels: readonly string[]): void {
    if (client.status !== 'ready') return
    for (let start = 0; start < channels.length; start += channelsPerCommand) {
      const some = channels.slice(start, start + channelsPerCommand)
      // A refusal is asked again with the next check.
      client.subscribe(...some).then(() => some.forEach((channel) => this.#hasJoined(channel)), this.#onRefusal)
    }
  }

  #hasJoined (channel: string): void {
    const listener = this.#listeners.get(channel)
    if (listener === undefined || this.#joined.has(channel)) return
    this.#joined.add(channel)
    listener.onSubscribed()
  }
}
