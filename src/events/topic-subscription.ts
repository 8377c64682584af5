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

/** Constructor options of {@link TopicSubscription}. */
interface TopicSubscriptionOptions extends SubscribeOptions {
  topic: string
  listener: EventListener
  onFailure: (error: unknown) => void
  onClose: (subscription: TopicSubscription) => void
}

/** One subscriber of a topic and its position. */
export class TopicSubscription implements Subscription {
  readonly topic: string
  readonly ready: Promise<string>
  position: string | undefined
  isClosed = false
  #options: TopicSubscriptionOptions
  #resolveReady: (position: string) => void

  constructor (options: TopicSubscriptionOptions) {
    const { promise, resolve } = Promise.withResolvers<string>()
    this.topic = options.topic
    this.position = options.from
    this.ready = promise
    this.#resolveReady = resolve
    this.#options = options
  }

  /** The subscription has received everything up to the topic's position. */
  caughtUp (position: string): void {
    if (this.position === undefined) this.#guard(() => this.#options.onBegin?.(position))
    this.position = position
    this.#resolveReady(position)
  }

  deliver (envelope: LoggedEnvelope): void {
    // A subscription created by a listener of this event starts after it.
    if (this.position === envelope.id) return
    this.position = envelope.id
    this.deliverForeign(envelope)
  }

  /** Delivers an event without changing the position: events of other services have no ID. */
  deliverForeign ({ event, text }: Envelope): void {
    if (this.isClosed) return
    // Without #guard: this runs for each client of each event.
    try {
      const result = this.#options.listener(event, text)
      if (result instanceof Promise) result.catch(this.#options.onFailure)
    } catch (error) {
      this.#options.onFailure(error)
    }
  }

  reset (id: string): void {
    this.position = id
    if (this.isClosed) return
    this.#guard(() => this.#options.onReset?.(id))
  }

  close (): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#options.onClose(this)
  }

  [Symbol.dispose] (): void {
    this.close()
  }

  /** An error in one listener must not affect the others. */
  #guard (call: () => unknown): void {
    try {
      const result = call()
      if (result instanceof Promise) result.catch(this.#options.onFailure)
    } catch (error) {
      this.#options.onFailure(error)
    }
  }
}
