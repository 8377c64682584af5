import type { CloudEvent, Envelope, LoggedEnvelope } from './event.ts'

/**
 * Takes one event, in the order of its topic. It is not waited for; what it throws is counted and told to the log.
 *
 * @param text the event as JSON, ready to be sent on
 */
export type EventListener = (event: CloudEvent, text: string) => unknown

/** What a subscriber may ask for. */
export interface SubscribeOptions {
  /** the id of the last event that was seen: all after it are delivered, or `onReset` is called; default: what is published from now on */
  from?: string | undefined
  /** events are missing, or may be: fetch anew what they would have told. The next event is the one after `id`. */
  onReset?: ((id: string) => void) | undefined
  /** called once, before the first event, unless `from` says where it begins: where it does */
  onBegin?: ((id: string) => void) | undefined
}

/** One subscriber of one topic. */
export interface Subscription extends Disposable {
  readonly topic: string
  /** the id of the last event that was delivered, or after which the next will be; undefined until Redis has said where the topic stands */
  readonly position: string | undefined
  /** resolves, with its position, when the subscriber is level with the topic */
  readonly ready: Promise<string>
  close (): void
}

/** What a follower is made with. */
export interface TopicSubscriptionOptions extends SubscribeOptions {
  topic: string
  take: EventListener
  onFailure: (error: unknown) => void
  onClose: (subscription: TopicSubscription) => void
}

/** A subscriber and how far it has come. */
export class TopicSubscription implements Subscription {
  readonly topic: string
  readonly ready: Promise<string>
  position: string | undefined
  isClosed = false
  #options: TopicSubscriptionOptions
  #isReady: (position: string) => void

  constructor (options: TopicSubscriptionOptions) {
    const { promise, resolve } = Promise.withResolvers<string>()
    this.topic = options.topic
    this.position = options.from
    this.ready = promise
    this.#isReady = resolve
    this.#options = options
  }

  /** It is level with its topic. */
  caughtUp (position: string): void {
    if (this.position === undefined) this.#guard(() => this.#options.onBegin?.(position))
    this.position = position
    this.#isReady(position)
  }

  deliver (envelope: LoggedEnvelope): void {
    // Who came in answer to this very event begins after it.
    if (this.position === envelope.id) return
    this.position = envelope.id
    this.take(envelope)
  }

  take ({ event, text }: Envelope): void {
    if (this.isClosed) return
    this.#guard(() => this.#options.take(event, text))
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

  /** One subscriber's fault stays its own. */
  #guard (call: () => unknown): void {
    try {
      const result = call()
      if (result instanceof Promise) result.catch(this.#options.onFailure)
    } catch (error) {
      this.#options.onFailure(error)
    }
  }
}
