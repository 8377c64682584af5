import type { CloudEvent } from '../events/event.ts'
import type { Subscription, SubscriptionHandler } from '../events/topic-subscription.ts'
import type { ReplayMeter } from './replay-budget.ts'

/** The connection of a {@link FollowedTopic}. */
interface TopicFollower {
  begin (topic: string, id: string): void
  deliver (topic: string, event: CloudEvent, text: string): void
  reset (topic: string, id: string): void
}

/** A topic that one connection follows. */
export class FollowedTopic implements SubscriptionHandler {
  readonly topic: string
  readonly #follower: TopicFollower
  #subscription: Subscription | undefined
  /** cancels a replay that waits for the client's budget */
  #cancel: (() => void) | undefined
  /** set until a replay has caught up */
  #meter: ReplayMeter | undefined
  #isReset = false

  constructor (follower: TopicFollower, topic: string) {
    this.#follower = follower
    this.topic = topic
  }

  opened (subscription: Subscription): void {
    this.#subscription = subscription
  }

  /** The replay waits for the client's budget. */
  waits (cancel: () => void): void {
    this.#cancel = cancel
  }

  /** Events are charged from now until the subscription has caught up. */
  charge (meter: ReplayMeter): void {
    this.#meter = meter
  }

  caughtUp (): void {
    // After a reset the page that was charged in advance is not refunded: reading it had its cost.
    if (!this.#isReset) this.#meter?.finish()
    this.#meter = undefined
  }

  onEvent (event: CloudEvent, text: string): void {
    this.#meter?.count()
    this.#follower.deliver(this.topic, event, text)
  }

  onBegin (id: string): void {
    this.#follower.begin(this.topic, id)
  }

  onReset (id: string): void {
    this.#isReset = true
    this.#follower.reset(this.topic, id)
  }

  close (): void {
    this.#cancel?.()
    this.#subscription?.close()
  }
}
