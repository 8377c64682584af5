import { EventsClosedError, TooManyTopicsError } from '../shared/errors.ts'
import { invalidOption } from '../shared/option-readers.ts'
import type { Keys } from '../redis/keys.ts'
import type { Subscriber } from '../redis/subscriber.ts'
import { checkTopic, isEventId, writeRest } from './event.ts'
import type { NewEvent } from './event.ts'
import { TopicSubscription } from './topic-subscription.ts'
import type { SubscribeOptions, Subscription, EventListener } from './topic-subscription.ts'
import type { EventLog } from './event-log.ts'
import type { EventsPolicy } from './options.ts'
import { Topic } from './topic.ts'
import type { EventCounts } from './topic.ts'

/** What the bus is made of. */
export interface BusParts {
  log: EventLog
  keys: Keys
  subscriber: Subscriber
  policy: EventsPolicy
  /** told what a subscriber threw */
  onFailure: (error: unknown, topic: string) => void
}

const checkEveryMs = 5000
const lookEveryMs = 250

/** Publishes events to topics and delivers them: in order, none twice, and none lost without the subscriber being told. */
export class Bus {
  readonly counts: EventCounts = { published: 0, publishFailed: 0, received: 0, delivered: 0, foreign: 0, malformed: 0, repaired: 0, resets: 0, failed: 0 }
  #parts: BusParts
  #topics = new Map<string, Topic>()
  #memory = { length: 0 }
  #timer: NodeJS.Timeout
  #isClosed = false

  constructor (parts: BusParts) {
    this.#parts = parts
    this.#timer = setInterval(() => this.#check(), lookEveryMs).unref()
  }

  /**
   * Publishes an event to all processes, other services included.
   *
   * @param topic 1 to 128 of letters, digits, `_ . : -`; `events` is the common one
   * @returns the event's id
   * @throws {TopicError} PRISM_ERR_TOPIC; {EventError} PRISM_ERR_EVENT; {EventTooLargeError} PRISM_ERR_EVENT_TOO_LARGE above 16 KiB;
   *   {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE when Redis did not confirm it, though it may have arrived
   */
  async publish (topic: string, event: NewEvent): Promise<string> {
    if (this.#isClosed) throw new EventsClosedError()
    const rest = writeRest(event, this.#parts.policy.source)
    this.#parts.policy.check(event)
    // A subscriber of ours who does not yet stand anywhere shall hear it.
    await this.#topics.get(topic)?.begun
    try {
      const id = await this.#parts.log.publish(checkTopic(topic), rest)
      this.counts.published += 1
      return id
    } catch (error) {
      this.counts.publishFailed += 1
      throw error
    }
  }

  /**
   * Delivers a topic's events, those of other processes and services included, until it is closed.
   *
   * What this process publishes after the call is delivered. While Redis is away nothing is, and afterwards everything, or `onReset` is called.
   *
   * @throws {TopicError} PRISM_ERR_TOPIC; {OptionError} PRISM_ERR_OPTION for a `from` that is no event's id;
   *   {EventsFullError} PRISM_ERR_TOO_MANY_TOPICS when this process listens to too many topics
   */
  subscribe (topic: string, take: EventListener, options: SubscribeOptions = {}): Subscription {
    if (this.#isClosed) throw new EventsClosedError()
    const { from } = options
    if (from !== undefined && !isEventId(from)) invalidOption('from', "an event's id", from)
    const state = this.#topic(checkTopic(topic))
    const subscription = new TopicSubscription({
      ...options,
      topic,
      take: (event, text) => {
        this.counts.delivered += 1
        return take(event, text)
      },
      onClose: (closed) => state.remove(closed),
      onFailure: (error) => {
        this.counts.failed += 1
        this.#parts.onFailure(error, topic)
      }
    })
    state.add(subscription)
    return subscription
  }

  /** Ends all subscriptions. */
  close (): void {
    this.#isClosed = true
    clearInterval(this.#timer)
    for (const topic of this.#topics.values()) topic.close()
    this.#topics.clear()
    this.#parts.subscriber.close()
  }

  #topic (name: string): Topic {
    const known = this.#topics.get(name)
    if (known !== undefined) return known
    const { log, keys, subscriber, policy } = this.#parts
    if (this.#topics.size >= policy.maxTopics) throw new TooManyTopicsError(policy.maxTopics)
    const topic = new Topic(name, log, this.counts, this.#memory)
    this.#topics.set(name, topic)
    subscriber.join(keys.topicChannel(name), { onMessage: (text) => topic.heard(text), onSubscribed: () => topic.joined() })
    return topic
  }

  /** Compares positions with the logs', which keeps the logs; forgets topics that nobody has asked for since the last time. */
  #check (): void {
    let isHeard = true
    for (const topic of this.#topics.values()) {
      if (performance.now() - topic.checkedAt < checkEveryMs) continue
      if (!topic.isUsed) this.#forget(topic)
      else if (!topic.check()) isHeard = false
    }
    // A Cluster's node that has lost the others answers, but brings nothing.
    if (!isHeard) this.#parts.subscriber.replace()
  }

  #forget (topic: Topic): void {
    topic.close()
    this.#topics.delete(topic.name)
    this.#parts.subscriber.leave(this.#parts.keys.topicChannel(topic.name))
  }
}
