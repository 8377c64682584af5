import { randomBytes } from 'node:crypto'
import { TopicForbiddenError, TopicsPerConnectionError } from '../shared/errors.ts'
import type { Bus } from '../events/bus.ts'
import { checkTopic } from '../events/event.ts'
import type { CloudEvent } from '../events/event.ts'
import { FollowedTopic } from './followed-topic.ts'
import type { CloseReason } from './frame.ts'
import { bounds } from './options.ts'
import type { LivePolicy, LiveUser } from './options.ts'
import type { ReplayMeter, ReplayBudget } from './replay-budget.ts'

/** The client of a live connection. */
export interface Client extends LiveUser {
  /** public ID of the session's device */
  readonly device: string | undefined
  /** the rate limit key of the client's address, see `clientKey` */
  readonly address: string
}

/** Dependencies that all connections of a process share. */
export interface ConnectionDeps {
  readonly events: Pick<Bus, 'publish' | 'attach'>
  readonly policy: LivePolicy
  readonly replayBudget: ReplayBudget
  /** called with errors that the client did not cause */
  readonly onFailure: (error: unknown) => void
  /** called with the error of a WebSocket, which its client may have caused */
  readonly onSocketError: (error: unknown) => void
  /** called when the connection's topics have changed */
  readonly onChange: (connection: LiveConnection) => void
  /** called once, when the connection has ended for any reason */
  readonly onClose: (connection: LiveConnection) => void
}

/** One client that subscribes to topics over a WebSocket or an event stream. */
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
  /** at most 50, and mostly one: a Map takes four times the memory, and so does an array that grows */
  #followed: readonly FollowedTopic[] = []

  constructor (client: Client, deps: ConnectionDeps) {
    this.client = client
    this.deps = deps
    this.heartbeatAt = this.#nextHeartbeatAt(performance.now())
  }

  get topics (): string[] {
    return this.#followed.map(({ topic }) => topic)
  }

  /**
   * Subscribes to a topic, after an event or from now on; replaces an existing subscription.
   *
   * @throws as {@link checkTopics}
   */
  follow (topic: string, since: string | undefined): void {
    checkTopics(this.deps.policy, this.client, [...new Set([...this.topics, topic])])
    const known = this.#remove(topic)
    known?.close()
    const followed = new FollowedTopic(this, topic)
    if (since !== undefined) {
      this.begin(topic, since)
      this.#replay(followed, since)
    } else followed.opened(this.deps.events.attach(topic, followed))
    this.#followed = this.#followed.concat(followed)
    this.deps.onChange(this)
    if (known === undefined) this.#tellPresence('joined', topic)
  }

  /** @returns whether the topic was subscribed */
  unfollow (topic: string): boolean {
    const followed = this.#remove(topic)
    if (followed === undefined) return false
    followed.close()
    this.deps.onChange(this)
    this.#tellPresence('left', topic)
    return true
  }

  #remove (topic: string): FollowedTopic | undefined {
    const known = this.#followed.find((followed) => followed.topic === topic)
    if (known !== undefined) this.#followed = this.#followed.filter((followed) => followed !== known)
    return known
  }

  /**
   * Closes the connection.
   *
   * @param retryAfterMs how long a client that is told when to connect again waits at least
   */
  close (reason: CloseReason, retryAfterMs = 0): void {
    if (this.isClosed) return
    this.ended()
    this.end(reason, retryAfterMs)
  }

  /** The connection has ended: delivers nothing more. */
  ended (): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const topic of this.topics) this.unfollow(topic)
    this.deps.onClose(this)
  }

  /** Pings the client. A WebSocket that has not replied to the previous ping is terminated. */
  heartbeat (now: number): void {
    this.heartbeatAt = this.#nextHeartbeatAt(now)
    this.ping()
  }

  /** Jitter of 20%, so that the heartbeats of many connections spread out, in fifths of the interval, so that many are one write to Redis. */
  #nextHeartbeatAt (now: number): number {
    const stepMs = this.deps.policy.heartbeatMs / 5
    return (Math.floor(now / stepMs) + 4 + Math.floor(Math.random() * 3)) * stepMs
  }

  /** Replays the events after a position within the client's replay budget, then delivers new ones. */
  #replay (followed: FollowedTopic, since: string): void {
    const { userId, address } = this.client
    let hasReturned = false
    followed.waits(this.deps.replayBudget.begin(userId === undefined ? `address ${address}` : `user ${userId}`, (meter) => {
      try {
        this.#resume(followed, since, meter)
      } catch (error) {
        if (!hasReturned) throw error
        this.close('failed')
      }
    }))
    hasReturned = true
  }

  #resume (followed: FollowedTopic, since: string, meter: ReplayMeter): void {
    followed.charge(meter)
    const subscription = this.deps.events.attach(followed.topic, followed, since)
    followed.opened(subscription)
    subscription.ready.then(() => followed.caughtUp(), () => {})
  }

  deliver (topic: string, event: CloudEvent, text: string): void {
    if (this.isClosed) return
    this.send(topic, event, text)
    if (this.bufferedBytes > bounds.bufferedBytes) this.close('slow')
  }

  #tellPresence (what: 'joined' | 'left', topic: string): void {
    const { events, policy } = this.deps
    if (!policy.hasPresence(topic)) return
    // Presence events are notifications only and may be lost in an outage: `live.connections()` is the source of truth.
    events.publish(topic, { type: `presence.${what}`, data: { user: this.client.userId ?? null, connection: this.id } }).catch(() => {})
  }

  protected abstract get bufferedBytes (): number
  abstract begin (topic: string, id: string): void
  protected abstract send (topic: string, event: CloudEvent, text: string): void
  abstract reset (topic: string, id: string): void
  protected abstract ping (): void
  protected abstract end (reason: CloseReason, retryAfterMs: number): void
}

/**
 * Checks whether a client may subscribe to topics, all on one connection.
 *
 * @throws {TopicError} PRISM_ERR_TOPIC; {TopicForbiddenError} PRISM_ERR_TOPIC_FORBIDDEN; {TopicsPerConnectionError} above 50 topics
 */
export function checkTopics ({ mayFollow }: LivePolicy, client: Client, topics: readonly string[]): void {
  const forbidden = topics.find((topic) => !mayFollow(client, checkTopic(topic)))
  if (forbidden !== undefined) throw new TopicForbiddenError(forbidden)
  if (topics.length > bounds.topicsPerConnection) throw new TopicsPerConnectionError(bounds.topicsPerConnection)
}
