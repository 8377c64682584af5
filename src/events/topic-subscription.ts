import type { CloudEvent, Envelope, LoggedEnvelope } from './event.ts'

/**
 * Receives the events of a topic in order. A returned promise is not awaited; errors and rejections are counted and logged.
 *
 * @param text the event as JSON, for forwarding
 */
export type EventListener = (event: CloudEvent, text: string) => unknown

/** Options of a subscription. */
export interface SubscribeOptions {
  /** ID of the last event that the subscriber has seen: all later events are delivered, or `onReset` is called; default: events published from now on */
  from?: string | undefined
  /** events may have been lost: load the current state again. The next event is the one after `id`. */
  onReset?: ((id: string) => void) | undefined
  /** called once, before the first event, with the position at which the subscription starts; not called if `from` is given */
  onBegin?: ((id: string) => void) | undefined
}

/** One subscriber of one topic. */
export interface Subscription extends Disposable {
  readonly topic: string
  /** ID of the event after which the next one is delivered; undefined until the topic's position has been read from Redis */
  readonly position: string | undefined
  /** resolves with the position when the subscription has caught up with the topic */
  readonly ready: Promise<string>
  close (): void
}

/** What a subscription calls. An object with methods needs no closures: a process may have a hundred thousand subscriptions. */
export interface SubscriptionHandler {
  /** receives each event, as an {@link EventListener} */
  onEvent: EventListener
  /** as in {@link SubscribeOptions} */
  onBegin?: ((id: string) => void) | undefined
  /** as in {@link SubscribeOptions} */
  onReset?: ((id: string) => void) | undefined
}

/** The topic of a subscription: what all of its subscriptions share. */
interface SubscribedTopic {
  readonly name: string
  readonly counts: { delivered: number }
  remove (subscription: TopicSubscription): void
  /** a handler threw */
  failed (error: unknown): void
}

/** One subscriber of a topic and its position. */
export class TopicSubscription implements Subscription {
  position: string | undefined
  isClosed = false
  #topic: SubscribedTopic
  #handler: SubscriptionHandler
  #hasCaughtUp = false
  /** created when it is first used */
  #ready: PromiseWithResolvers<string> | undefined

  constructor (topic: SubscribedTopic, handler: SubscriptionHandler, from: string | undefined) {
    this.#topic = topic
    this.#handler = handler
    this.position = from
  }

  get topic (): string {
    return this.#topic.name
  }

  get ready (): Promise<string> {
    if (this.#ready === undefined) {
      this.#ready = Promise.withResolvers()
      if (this.#hasCaughtUp) this.#ready.resolve(this.position ?? '')
    }
    return this.#ready.promise
  }

  /** The subscription has received everything up to the topic's position. */
  caughtUp (position: string): void {
    if (this.position === undefined) this.#guard(() => this.#handler.onBegin?.(position))
    this.position = position
    this.#hasCaughtUp = true
    this.#ready?.resolve(position)
  }

  deliver (envelope: LoggedEnvelope): void {
    // A subscription created by a listener of this event starts after it.
    if (this.position === envelope.id) return
    this.position = envelope.id
    this.deliverExternal(envelope)
  }

  /** Delivers an event without changing the position: events of other services have no ID. */
  deliverExternal ({ event, text }: Envelope): void {
    if (this.isClosed) return
    this.#topic.counts.delivered += 1
    // Without #guard: this runs for each client of each event.
    try {
      const result = this.#handler.onEvent(event, text)
      if (result instanceof Promise) this.#observe(result)
    } catch (error) {
      this.#topic.failed(error)
    }
  }

  reset (id: string): void {
    this.position = id
    if (this.isClosed) return
    this.#guard(() => this.#handler.onReset?.(id))
  }

  close (): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#topic.remove(this)
  }

  [Symbol.dispose] (): void {
    this.close()
  }

  /** An error in one listener must not affect the others. */
  #guard (call: () => unknown): void {
    try {
      const result = call()
      if (result instanceof Promise) this.#observe(result)
    } catch (error) {
      this.#topic.failed(error)
    }
  }

  #observe (result: Promise<unknown>): void {
    result.catch((error: unknown) => this.#topic.failed(error))
  }
}
