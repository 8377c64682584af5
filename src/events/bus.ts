import { EventsClosedError, TooManyTopicsError } from '../shared/errors.ts'
import { everySecond } from '../shared/every-second.ts'
import { invalidOption, readRecord } from '../shared/option-readers.ts'
import type { Keys } from '../redis/keys.ts'
import type { Subscriber } from '../redis/subscriber.ts'
import { checkTopic, isEventId, writeRest } from './event.ts'
import type { NewEvent } from './event.ts'
import { TopicSubscription } from './topic-subscription.ts'
import type { SubscribeOptions, Subscription, SubscriptionHandler, EventListener } from './topic-subscription.ts'
import type { EventLog, TopicPosition } from './event-log.ts'
import type { EventsPolicy } from './options.ts'
import { Topic } from './topic.ts'
import type { EventCounts } from './event-counts.ts'

/** Dependencies of the event bus. */
interface BusParts {
  log: EventLog
  keys: Keys
  subscriber: Subscriber
  policy: EventsPolicy
  /** called with what a subscriber threw */
  onFailure: (error: unknown, topic: string) => void
}

/** A topic is checked after this time without an event, at the next second: about every 5 s. */
const silenceMs = 4500

/** Publishes events to topics and delivers them in order and at most once. A subscriber that lost events is notified through `onReset`. */
export class Bus {
  readonly counts: EventCounts = { published: 0, publishFailed: 0, received: 0, delivered: 0, external: 0, malformed: 0, recovered: 0, resets: 0, failed: 0 }
  #deps: BusParts
  #topics = new Map<string, Topic>()
  #replayMemory = { length: 0 }
  #stopChecks: () => void
  #isChecking = false
  /** before then no topic is to be checked or removed, on the `performance.now()` clock */
  #checkAt = 0
  #isClosed = false

  constructor (parts: BusParts) {
    this.#deps = parts
    this.#stopChecks = everySecond(() => { this.#check() })
  }

  /**
   * Publishes an event to all processes, including other services.
   *
   * @param topic 1 to 128 letters, digits, `_ . : -`; `events` is the common topic
   * @returns the event's ID
   * @throws {TopicError} PRISM_ERR_TOPIC; {EventError} PRISM_ERR_EVENT; {EventTooLargeError} PRISM_ERR_EVENT_TOO_LARGE above 16 KiB;
   *   {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE when Redis did not confirm it; subscribers may receive it nevertheless
   */
  async publish (topic: string, event: NewEvent): Promise<string> {
    if (this.#isClosed) throw new EventsClosedError()
    const rest = writeRest(event, this.#deps.policy.source)
    this.#deps.policy.check(event)
    try {
      // A subscriber of this process that has no position yet must receive this event.
      const begun = this.#topics.get(topic)?.whenBegun()
      if (begun !== undefined) await begun
      const id = await this.#deps.log.publish(checkTopic(topic), rest)
      this.counts.published += 1
      return id
    } catch (error) {
      this.counts.publishFailed += 1
      throw error
    }
  }

  /**
   * Delivers a topic's events, including those of other processes and services, until the subscription is closed.
   *
   * Events that this process publishes after the call are delivered. During a Redis outage nothing is delivered; afterwards the missed events
   * are, or `onReset` is called if the log no longer has them.
   *
   * @throws {TopicError} PRISM_ERR_TOPIC; {OptionError} PRISM_ERR_OPTION for an unknown or wrong option, such as a `from` that is not an event ID;
   *   {TooManyTopicsError} when this process is subscribed to `maxTopics` topics already
   */
  subscribe (topic: string, listener: EventListener, options: SubscribeOptions = {}): Subscription {
    const { from, onBegin, onReset } = readRecord('subscribe', options, ['from', 'onBegin', 'onReset']) as SubscribeOptions
    checkFunction('subscribe listener', listener)
    if (onBegin !== undefined) checkFunction('subscribe.onBegin', onBegin)
    if (onReset !== undefined) checkFunction('subscribe.onReset', onReset)
    return this.attach(topic, { onEvent: listener, onBegin, onReset }, from)
  }

  /** As {@link subscribe}, for a subscriber that is an object. @throws as {@link subscribe} */
  attach (topic: string, handler: SubscriptionHandler, from?: string): Subscription {
    if (this.#isClosed) throw new EventsClosedError()
    if (from !== undefined && !isEventId(from)) invalidOption('from', "an event's id", from)
    const state = this.#topic(checkTopic(topic))
    const subscription = new TopicSubscription(state, handler, from)
    state.add(subscription)
    return subscription
  }

  /** Closes all subscriptions. */
  close (): void {
    this.#isClosed = true
    this.#stopChecks()
    for (const topic of this.#topics.values()) topic.close()
    this.#topics.clear()
    this.#deps.subscriber.close()
  }

  #topic (name: string): Topic {
    const known = this.#topics.get(name)
    if (known !== undefined) return known
    const { log, keys, subscriber, policy, onFailure } = this.#deps
    if (this.#topics.size >= policy.maxTopics) throw new TooManyTopicsError(policy.maxTopics)
    const topic = new Topic(name, { log, onFailure, counts: this.counts, memory: this.#replayMemory })
    this.#topics.set(name, topic)
    subscriber.join(keys.topicChannel(name), topic)
    return topic
  }

  /**
   * Removes topics without subscriptions, and compares the positions of silent topics with their logs, which also renews the logs' expiry.
   *
   * A topic that was silent for half of the time is compared too, so that the checks of all idle topics become one write.
   */
  async #check (): Promise<void> {
    const now = performance.now()
    if (this.#isChecking || now < this.#checkAt) return
    const idle: Topic[] = []
    let isDue = false
    // A topic that is created, verified or left from now on is due after that.
    let earliest = now
    for (const topic of this.#topics.values()) {
      const { verifiedAt, unusedSince } = topic
      if (unusedSince !== undefined && now - unusedSince >= silenceMs) {
        this.#remove(topic)
        continue
      }
      if (now - verifiedAt >= silenceMs) isDue = true
      if (now - verifiedAt >= silenceMs / 2) idle.push(topic)
      earliest = Math.min(earliest, verifiedAt, unusedSince ?? now)
    }
    if (!isDue) {
      this.#checkAt = earliest + silenceMs
      return
    }
    this.#isChecking = true
    try {
      await this.#compare(idle)
    } finally {
      this.#isChecking = false
    }
  }

  async #compare (idle: readonly Topic[]): Promise<void> {
    const positions: TopicPosition[] = []
    let hasReceivedAll = true
    for (const topic of idle) {
      if (topic.takeUndelivered()) hasReceivedAll = false
      const position = topic.beginCheck()
      if (position !== undefined) positions.push({ topic: topic.name, position })
    }
    // A Cluster node that is partitioned from the others replies to commands, but delivers no messages.
    if (!hasReceivedAll) this.#deps.subscriber.replace()
    for (const { topic } of await this.#deps.log.compare(positions)) this.#topics.get(topic)?.readUndelivered()
  }

  #remove (topic: Topic): void {
    topic.close()
    this.#topics.delete(topic.name)
    this.#deps.subscriber.leave(this.#deps.keys.topicChannel(topic.name))
  }
}

function checkFunction (option: string, value: unknown): void {
  if (typeof value !== 'function') invalidOption(option, 'a function', value)
}
