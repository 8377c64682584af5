import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import { everySecond } from '../shared/every-second.ts'
import { defaultDeadlineMs, slownessOf } from './health/deadline.ts'

/** Callbacks of one channel. */
interface ChannelListener {
  /** called with each published message */
  onMessage: (message: string) => void
  /** called when the subscription is active, again after each reconnect: messages published in between are lost */
  onSubscribed: () => void
}

/** Less than the ping interval of a second, because timers may fire early. */
const patienceMs = 900
const channelsPerCommand = 256
const reopenAfterMs = 100

/**
 * One Pub/Sub connection, opened with the first channel. It sends a PING every second, and replaces the connection if the reply has not come by the next
 * one, so that a dead or half-open connection is detected within 2.5 s.
 */
export class Subscriber {
  /** Number of connections established since process start. */
  connections = 0
  #open: () => Redis | Cluster
  #client: Redis | undefined
  /** set while a node of the Cluster is being chosen */
  #cluster: Cluster | undefined
  #listeners = new Map<string, ChannelListener>()
  #subscribed = new Set<string>()
  #stopChecks: (() => void) | undefined
  #checkedAt = 0
  readonly #slowness: number
  readonly #onRefusal: (error: Error) => void
  #isClosed = false
  /** when the pending PING or handshake began; undefined when no reply is pending */
  #pingedAt: number | undefined

  /**
   * @param onRefusal called with each error reply to SUBSCRIBE
   * @param deadlineMs time limit for a reply; the ping interval grows with it
   */
  constructor (open: () => Redis | Cluster, onRefusal: (error: Error) => void, deadlineMs = defaultDeadlineMs) {
    this.#open = open
    this.#onRefusal = onRefusal
    this.#slowness = slownessOf(deadlineMs)
  }

  get isReady (): boolean {
    return this.#client?.status === 'ready'
  }

  /** Subscribes to a channel; replaces an earlier listener of the channel. */
  join (channel: string, listener: ChannelListener): void {
    this.#listeners.set(channel, listener)
    if (this.#client !== undefined) this.#subscribe(this.#client, [channel])
    else if (this.#cluster === undefined) this.#connect()
  }

  leave (channel: string): void {
    this.#listeners.delete(channel)
    this.#subscribed.delete(channel)
    // It fails only when the connection is lost, and its subscriptions with it.
    if (this.isReady) this.#client?.unsubscribe(channel).catch(() => {})
  }

  /** Reconnects, because the connection replies but does not deliver published messages. */
  replace (): void {
    this.#pingedAt = undefined
    this.#client?.disconnect(true)
  }

  close (): void {
    this.#isClosed = true
    this.#stopChecks?.()
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

  /** Every node of a Cluster delivers every channel: choose a random node, and another one when it fails. */
  #choose (cluster: Cluster): void {
    this.#cluster = cluster
    cluster.once('ready', () => {
      const nodes = cluster.nodes('all')
      const node = nodes[Math.floor(Math.random() * nodes.length)]
      const client = node?.duplicate({ lazyConnect: false, retryStrategy: () => null })
      this.#cluster = undefined
      cluster.disconnect()
      if (client === undefined) return this.#reopen()
      client.on('error', () => {}) // the `end` event follows
      this.#use(client)
    })
    cluster.once('end', () => { if (this.#cluster === cluster) this.#reopen() })
  }

  #use (client: Redis): void {
    if (this.#isClosed) return client.disconnect()
    this.#client = client
    // ioredis would resubscribe without handling a failure: an app that closes at that moment would end with an unhandled rejection.
    client.options.autoResubscribe = false
    this.#stopChecks ??= everySecond(() => setImmediate(() => this.#check()))
    client.on('message', (channel: string, message: string) => this.#listeners.get(channel)?.onMessage(message))
    client.on('connect', () => { this.#pingedAt = performance.now() })
    client.on('close', () => {
      this.#pingedAt = undefined
      this.#subscribed.clear()
    })
    client.on('ready', () => {
      this.#pingedAt = undefined
      this.connections += 1
      this.#subscribe(client, [...this.#listeners.keys()])
    })
    client.on('end', () => this.#reopen())
  }

  #reopen (): void {
    if (!this.#isClosed) setTimeout(() => this.#connect(), reopenAfterMs).unref()
  }

  /**
   * Replaces a connection whose reply is overdue; otherwise sends PING, and SUBSCRIBE for channels that were rejected before. It runs in setImmediate,
   * after sockets were read: a blocked event loop does not make a reply late.
   */
  #check (): void {
    const client = this.#client
    const now = performance.now()
    if (now - this.#checkedAt < patienceMs * this.#slowness) return
    this.#checkedAt = now
    if (this.#pingedAt !== undefined && now - this.#pingedAt > patienceMs * this.#slowness) return this.replace()
    if (client?.status !== 'ready') return
    this.#pingedAt ??= now
    const replied = () => { this.#pingedAt = undefined }
    // NOPERM for PING is a reply too; any other failure ends the connection.
    client.ping().then(replied, (error: Error) => { if (error.name === 'ReplyError') replied() })
    if (this.#subscribed.size < this.#listeners.size) this.#subscribe(client, [...this.#listeners.keys()].filter((channel) => !this.#subscribed.has(channel)))
  }

  #subscribe (client: Redis, channels: readonly string[]): void {
    if (client.status !== 'ready') return
    for (let start = 0; start < channels.length; start += channelsPerCommand) {
      const some = channels.slice(start, start + channelsPerCommand)
      // A rejected channel is subscribed again with the next check.
      client.subscribe(...some).then(() => some.forEach((channel) => this.#onSubscribed(channel)), this.#onRefusal)
    }
  }

  #onSubscribed (channel: string): void {
    const listener = this.#listeners.get(channel)
    if (listener === undefined || this.#subscribed.has(channel)) return
    this.#subscribed.add(channel)
    listener.onSubscribed()
  }
}
