import { randomBytes } from 'node:crypto'
import { TopicForbiddenError, TopicsPerConnectionError } from '../shared/errors.ts'
import type { Bus } from '../events/bus.ts'
import { checkTopic } from '../events/event.ts'
import type { CloudEvent } from '../events/event.ts'
import type { Subscription } from '../events/topic-subscription.ts'
import type { CloseReason } from './frame.ts'
import { bounds } from './options.ts'
import type { LivePolicy, LiveUser } from './options.ts'
import type { ReplayMeter, ReplayBudget } from './replay-budget.ts'

/** Who is at the other end. */
export interface Client extends LiveUser {
  /** the public name of the session's device */
  readonly device: string | undefined
  /** the key that the client is counted by, see `clientKey` */
  readonly address: string
}

/** What all connections of a process share. */
export interface ConnectionDeps {
  readonly events: Pick<Bus, 'publish' | 'subscribe'>
  readonly policy: LivePolicy
  readonly replayBudget: ReplayBudget
  /** told what went wrong here, where a client is to blame for nothing */
  readonly onFailure: (error: unknown) => void
  /** told when it follows other topics than before */
  readonly onChange: (connection: LiveConnection) => void
  /** told once, when a connection has ended, whoever ended it */
  readonly onClose: (connection: LiveConnection) => void
}

/** One client that follows topics, over a WebSocket or an event stream. */
export abstract class LiveConnection {
  abstract readonly kind: 'websocket' | 'stream'
  readonly id = randomBytes(12).toString('base64url')
  readonly client: Client
  /** when it was opened, milliseconds since 1970 */
  readonly openedAt = Date.now()
  /** when its next heartbeat is due, milliseconds of `performance.now()` */
  heartbeatAt: number
  isClosed = false
  protected readonly deps: ConnectionDeps
  readonly #subscriptions = new Map<string, Pick<Subscription, 'close'>>()

  constructor (client: Client, deps: ConnectionDeps) {
    this.client = client
    this.deps = deps
    this.heartbeatAt = performance.now() + this.#nextHeartbeatMs()
  }

  get topics (): string[] {
    return [...this.#subscriptions.keys()]
  }

  /**
   * Follows a topic, from an event on or from now; again, when it did already.
   *
   * @throws as {@link checkTopics}
   */
  follow (topic: string, since: string | undefined): void {
    checkTopics(this.deps.policy, this.client, [...new Set([...this.topics, topic])])
    const known = this.#subscriptions.get(topic)
    known?.close()
    this.#subscriptions.delete(topic)
    if (since !== undefined) this.begin(topic, since)
    this.#subscriptions.set(topic, since === undefined ? this.#subscribe(topic) : this.#replay(topic, since))
    this.deps.onChange(this)
    if (known === undefined) this.#tellPresence('joined', topic)
  }

  /** @returns whether it was followed */
  unfollow (topic: string): boolean {
    const subscription = this.#subscriptions.get(topic)
    if (subscription === undefined) return false
    subscription.close()
    this.#subscriptions.delete(topic)
    this.deps.onChange(this)
    this.#tellPresence('left', topic)
    return true
  }

  /** Sends the client away. */
  close (reason: CloseReason): void {
    if (this.isClosed) return
    this.ended()
    this.end(reason)
  }

  /** It is over: nothing more is delivered. */
  ended (): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const topic of this.topics) this.unfollow(topic)
    this.deps.onClose(this)
  }

  /** Asks whether the client lives; ends the connection when it did not answer the last time. */
  heartbeat (now: number): void {
    this.heartbeatAt = now + this.#nextHeartbeatMs()
    this.ping()
  }

  /** A fifth more or less, so that many connections do not beat as one. */
  #nextHeartbeatMs (): number {
    return this.deps.policy.heartbeatMs * (0.8 + Math.random() * 0.4)
  }

  #subscribe (topic: string): Subscription {
    return this.deps.events.subscribe(topic, (event, text) => this.#deliver(topic, event, text), {
      onBegin: (id) => this.begin(topic, id),
      onReset: (id) => this.reset(topic, id)
    })
  }

  /** Sends what the client missed, as fast as it may be sent, and follows the topic from there. */
  #replay (topic: string, since: string): Pick<Subscription, 'close'> {
    const { userId, address } = this.client
    let subscription: Subscription | undefined
    let hasReturned = false
    const cancel = this.deps.replayBudget.begin(userId === undefined ? `address ${address}` : `user ${userId}`, (meter) => {
      try {
        subscription = this.#resume(topic, since, meter)
      } catch (error) {
        if (!hasReturned) throw error
        this.close('failed')
      }
    })
    hasReturned = true
    return { close: () => { cancel(); subscription?.close() } }
  }

  #resume (topic: string, since: string, meter: ReplayMeter): Subscription {
    let [isReplaying, isReset] = [true, false]
    const subscription = this.deps.events.subscribe(topic, (event, text) => {
      if (isReplaying) meter.count()
      this.#deliver(topic, event, text)
    }, {
      from: since,
      onReset: (id) => {
        isReset = true
        this.reset(topic, id)
      }
    })
    subscription.ready.then(() => {
      isReplaying = false
      // A position that the log does not know cost a page in vain.
      if (!isReset) meter.finish()
    }, () => {})
    return subscription
  }

  #deliver (topic: string, event: CloudEvent, text: string): void {
    if (this.isClosed) return
    this.send(topic, event, text)
    if (this.bufferedBytes > bounds.bufferedBytes) this.close('slow')
  }

  #tellPresence (what: 'joined' | 'left', topic: string): void {
    const { events, policy } = this.deps
    if (!policy.hasPresence(topic)) return
    // Who is there is asked of the instances; this is only news of it, and lost with Redis.
    events.publish(topic, { type: `presence.${what}`, data: { user: this.client.userId ?? null, connection: this.id } }).catch(() => {})
  }

  protected abstract get bufferedBytes (): number
  protected abstract begin (topic: string, id: string): void
  protected abstract send (topic: string, event: CloudEvent, text: string): void
  protected abstract reset (topic: string, id: string): void
  protected abstract ping (): void
  protected abstract end (reason: CloseReason): void
}

/**
 * Checks whether somebody may follow topics, all on one connection.
 *
 * @throws {TopicError} PRISM_ERR_TOPIC; {TopicForbiddenError} PRISM_ERR_TOPIC_FORBIDDEN; {TopicsFullError} PRISM_ERR_TOPICS_PER_CONNECTION
 */
export function checkTopics ({ mayFollow }: LivePolicy, client: Client, topics: readonly string[]): void {
  const forbidden = topics.find((topic) => !mayFollow(client, checkTopic(topic)))
  if (forbidden !== undefined) throw new TopicForbiddenError(forbidden)
  if (topics.length > bounds.topicsPerConnection) throw new TopicsPerConnectionError(bounds.topicsPerConnection)
}
