import { setTimeout as pause } from 'node:timers/promises'
import { compareIds, readMessage } from './event.ts'
import type { Envelope, LoggedEnvelope } from './event.ts'
import type { TopicSubscription } from './topic-subscription.ts'
import type { EventLog, Page } from './event-log.ts'
import { ReplayBuffer } from './replay-buffer.ts'
import type { SharedBudget } from './replay-buffer.ts'

/** What happened on the bus since the start. */
export interface EventCounts {
  published: number
  /** publishes that failed; some of them may have arrived */
  publishFailed: number
  /** heard by this process */
  received: number
  /** handed to subscribers: one event to three of them counts three */
  delivered: number
  /** published by other services, without a place in the log */
  foreign: number
  /** dropped: no JSON object, or too large */
  malformed: number
  /** events that the channel did not bring, read from the log */
  repaired: number
  resets: number
  /** subscribers that threw */
  failed: number
}

const maxHeld = 256
const retryMs = [50, 100, 250, 500, 1000]

/**
 * One topic in this process: it goes on with an event only when that names the last one seen as the one before it; otherwise it reads the log.
 *
 * Most subscribers are level with it. Those who resume read the log on their own until they are.
 */
export class Topic {
  readonly name: string
  /** settles when Redis has said where the topic stands, or has failed to */
  readonly begun: Promise<void>
  /** when its position was last compared with the log's, milliseconds of `performance.now()` */
  checkedAt: number
  #log: EventLog
  #counts: EventCounts
  #hasBegun: () => void
  #position: string | undefined
  #replayBuffer: ReplayBuffer
  #caughtUp = new Set<TopicSubscription>()
  #waiting = new Set<TopicSubscription>()
  #subscriptions = new Set<TopicSubscription>()
  /** what the channel brought while the log was read */
  #held: LoggedEnvelope[] = []
  #isReading = false
  #isBehind = false
  #isClosed = false
  #isChecking = false
  /** the last event that a check found in the log, and that the channel has not brought since */
  #unheard: string | undefined

  constructor (name: string, log: EventLog, counts: EventCounts, memory: SharedBudget) {
    this.name = name
    this.#log = log
    this.#counts = counts
    this.#replayBuffer = new ReplayBuffer(memory)
    this.checkedAt = performance.now()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.begun = promise
    this.#hasBegun = resolve
    this.#catchUp()
  }

  get isUsed (): boolean {
    return this.#subscriptions.size > 0
  }

  add (subscription: TopicSubscription): void {
    this.#subscriptions.add(subscription)
    if (subscription.position !== undefined) queueMicrotask(() => { this.#follow(subscription) })
    else {
      this.#caughtUp.add(subscription)
      if (this.#position !== undefined) subscription.caughtUp(this.#position)
    }
  }

  remove (subscription: TopicSubscription): void {
    for (const set of [this.#subscriptions, this.#caughtUp, this.#waiting]) set.delete(subscription)
  }

  close (): void {
    this.#isClosed = true
    this.#replayBuffer.clear()
    this.#hasBegun()
    for (const subscription of this.#subscriptions) subscription.isClosed = true
  }

  /** Takes what the channel brought. */
  heard (text: string): void {
    const envelope = readMessage(text)
    if (envelope === undefined) this.#counts.malformed += 1
    else if (!isLogged(envelope)) this.#takeForeign(envelope)
    else this.#takeLogged(envelope)
  }

  /** The channel is heard from now on: what came before stands in the log. */
  joined (): void {
    this.#isChecking = false
    this.#unheard = undefined
    this.#catchUp()
  }

  /**
   * Compares the position with the log's, in case that nothing was heard because nothing is brought.
   *
   * @returns false when what the check before found in the log has not been heard to this day
   */
  check (): boolean {
    const isHeard = this.#unheard === undefined
    this.checkedAt = performance.now()
    this.#unheard = undefined
    this.#isChecking = true
    this.#catchUp()
    return isHeard
  }

  #catchUp (): void {
    this.#isBehind = true
    if (!this.#isReading) this.#read()
  }

  #takeForeign (envelope: Envelope): void {
    this.#counts.foreign += 1
    for (const subscription of this.#subscriptions) subscription.take(envelope)
  }

  #takeLogged (envelope: LoggedEnvelope): void {
    this.#counts.received += 1
    if (this.#unheard !== undefined && compareIds(envelope.id, this.#unheard) >= 0) this.#unheard = undefined
    if (!this.#isReading) {
      if (!this.#take(envelope)) this.#catchUp()
    } else if (this.#held.length < maxHeld) this.#held.push(envelope)
    else this.#isBehind = true
  }

  /** @returns false when something is missing before it. What was already seen is passed over; if a clock's leap makes it only look so, the next check finds it. */
  #take (envelope: LoggedEnvelope): boolean {
    if (this.#position === undefined) return false
    if (envelope.prev !== this.#position) return compareIds(envelope.id, this.#position) <= 0
    this.#position = envelope.id
    this.#replayBuffer.add(envelope)
    for (const subscription of this.#caughtUp) subscription.deliver(envelope)
    return true
  }

  /** One reading at a time; what is heard meanwhile is tried afterwards. */
  async #read (): Promise<void> {
    this.#isReading = true
    while (this.#isBehind && !this.#isClosed) {
      this.#isBehind = false
      await this.#readToEnd()
      for (const envelope of this.#held.splice(0)) if (!this.#take(envelope)) this.#isBehind = true
    }
    this.#isReading = false
    this.#isChecking = false
    for (const subscription of this.#waiting) {
      this.#waiting.delete(subscription)
      this.#follow(subscription)
    }
  }

  async #readToEnd (): Promise<void> {
    for (;;) {
      const page = await this.#ask(this.#position, () => this.#isClosed)
      if (page === undefined) return
      if (this.#position === undefined) return this.#begin(page.last)
      if (!page.entries.every((entry) => this.#take(entry)) || !(page.isFull || this.#position === page.last)) return this.#reset(page.last)
      this.#counts.repaired += page.entries.length
      if (this.#isChecking) this.#unheard = page.entries.at(-1)?.id ?? this.#unheard
      if (!page.isFull) return
    }
  }

  #begin (position: string): void {
    this.#position = position
    for (const subscription of this.#caughtUp) subscription.caughtUp(position)
    this.#hasBegun()
  }

  /** Something is lost for all who are level. */
  #reset (position: string): void {
    this.#counts.resets += 1
    this.#position = position
    this.#unheard = undefined
    this.#replayBuffer.clear()
    // A subscriber that comes in answer to the reset has begun after it.
    for (const subscription of [...this.#caughtUp]) subscription.reset(position)
  }

  /** Leads one subscriber along the log until it is level with the topic. */
  async #follow (subscription: TopicSubscription): Promise<void> {
    let hasRead = false
    while (!subscription.isClosed && !this.#settle(subscription, hasRead)) {
      const page = await this.#ask(subscription.position, () => this.#isClosed || subscription.isClosed)
      if (page === undefined) return
      hasRead = true
      replayPage(subscription, page)
    }
  }

  /** @returns whether it need not read on now */
  #settle (subscription: TopicSubscription, hasRead: boolean): boolean {
    const { position = '' } = subscription
    const missed = this.#position === position ? [] : this.#replayBuffer.after(position)
    if (missed !== undefined) return this.#markCaughtUp(subscription, missed)
    if (!hasRead || (this.#position !== undefined && compareIds(position, this.#position) < 0)) return false
    this.#waiting.add(subscription)
    this.#catchUp()
    return true
  }

  #markCaughtUp (subscription: TopicSubscription, missed: readonly LoggedEnvelope[]): boolean {
    for (const envelope of missed) subscription.deliver(envelope)
    if (subscription.isClosed) return true
    this.#caughtUp.add(subscription)
    if (subscription.position !== undefined) subscription.caughtUp(subscription.position)
    return true
  }

  /** Asks until Redis answers; undefined when nobody wants to know any more. */
  async #ask (from: string | undefined, isOver: () => boolean): Promise<Page | undefined> {
    for (let attempt = 0; !isOver(); attempt++) {
      try {
        return await this.#log.read(this.name, from)
      } catch {
        // Redis is away, or refuses: its pool tells the log, and here there is nothing to do but to ask again.
        this.#hasBegun()
        const ms = retryMs[Math.min(attempt, retryMs.length - 1)] ?? 0
        await pause(ms * (0.75 + Math.random() / 2), undefined, { ref: false })
      }
    }
    return undefined
  }
}

function isLogged (envelope: Envelope | LoggedEnvelope): envelope is LoggedEnvelope {
  return 'prev' in envelope
}

/** Hands a subscriber a page, or tells it that something before it is lost. */
function replayPage (subscription: TopicSubscription, page: Page): void {
  for (const entry of page.entries) {
    if (entry.prev !== subscription.position) return subscription.reset(page.last)
    subscription.deliver(entry)
  }
  if (!page.isFull && subscription.position !== page.last) subscription.reset(page.last)
}
