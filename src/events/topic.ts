import { setTimeout as pause } from 'node:timers/promises'
import { compareIds, isLogged, readMessage } from './event.ts'
import type { Envelope, LoggedEnvelope } from './event.ts'
import type { EventCounts } from './event-counts.ts'
import type { TopicSubscription } from './topic-subscription.ts'
import type { EventLog, Page } from './event-log.ts'
import { ReplayBuffer } from './replay-buffer.ts'
import type { SharedBudget } from './replay-buffer.ts'

const maxQueued = 256
const retryMs = [50, 100, 250, 500, 1000]

/** What the topics of a process share. */
interface TopicParts {
  readonly log: EventLog
  readonly counts: EventCounts
  readonly memory: SharedBudget
  /** called with what a subscriber threw */
  readonly onFailure: (error: unknown, topic: string) => void
}

/**
 * One topic in this process. An event is delivered only if it names the last delivered event as its predecessor; otherwise the topic reads the log.
 *
 * Most subscriptions are at the topic's position. A subscription that resumes from an older one reads the log by itself until it has caught up.
 */
export class Topic {
  readonly name: string
  readonly counts: EventCounts
  /** when the channel last delivered the next event, or the position was last compared with the log, in milliseconds of `performance.now()` */
  verifiedAt = performance.now()
  /** when its last subscription was closed; undefined while it has one */
  unusedSince: number | undefined = performance.now()
  #log: EventLog
  #onFailure: (error: unknown, topic: string) => void
  /** created for the first publish that waits; a process may have thousands of topics, and none keeps a promise that has settled */
  #beginning: PromiseWithResolvers<void> | undefined
  /** ends the pause before the first read is repeated */
  #retryNow: (() => void) | undefined
  #position: string | undefined
  #replayBuffer: ReplayBuffer
  #caughtUp = new Set<TopicSubscription>()
  /** undefined while there are none */
  #waiting: Set<TopicSubscription> | undefined
  #subscriptions = new Set<TopicSubscription>()
  /** messages received while the log is read */
  #queued: LoggedEnvelope[] = []
  #isReading = false
  #isBehind = false
  #isClosed = false
  #isChecking = false
  /** the last event that a check found in the log and that the channel has not delivered since */
  #undelivered: string | undefined

  constructor (name: string, { log, counts, memory, onFailure }: TopicParts) {
    this.name = name
    this.#log = log
    this.counts = counts
    this.#onFailure = onFailure
    this.#replayBuffer = new ReplayBuffer(memory)
    this.#catchUp()
  }

  add (subscription: TopicSubscription): void {
    this.#subscriptions.add(subscription)
    this.unusedSince = undefined
    if (subscription.position !== undefined) queueMicrotask(() => { this.#replay(subscription) })
    else {
      this.#caughtUp.add(subscription)
      if (this.#position !== undefined) subscription.caughtUp(this.#position)
    }
  }

  remove (subscription: TopicSubscription): void {
    this.#subscriptions.delete(subscription)
    this.#caughtUp.delete(subscription)
    this.#waiting?.delete(subscription)
    if (this.#subscriptions.size === 0) this.unusedSince ??= performance.now()
  }

  close (): void {
    this.#isClosed = true
    this.#replayBuffer.clear()
    this.#beginning?.resolve()
    for (const subscription of this.#subscriptions) subscription.isClosed = true
  }

  /** A subscriber threw. */
  failed (error: unknown): void {
    this.counts.failed += 1
    this.#onFailure(error, this.name)
  }

  /** Handles a message of the channel. */
  onMessage (text: string): void {
    const envelope = readMessage(text)
    if (envelope === undefined) this.counts.malformed += 1
    else if (!isLogged(envelope)) this.#onExternal(envelope)
    else this.#onLogged(envelope)
  }

  /** The channel is subscribed: earlier events are in the log. */
  onSubscribed (): void {
    this.#isChecking = false
    this.#undelivered = undefined
    this.#catchUp()
  }

  /** Whether the channel has not delivered an event that a check has found in the log. The next check begins without it. */
  takeUndelivered (): boolean {
    const isMissing = this.#undelivered !== undefined
    this.#undelivered = undefined
    return isMissing
  }

  /**
   * Begins a check: silence may mean that the channel delivers nothing.
   *
   * @returns the position to compare with the log; undefined while the topic reads its log to the end
   */
  beginCheck (): string | undefined {
    this.verifiedAt = performance.now()
    return this.#isReading ? undefined : this.#position
  }

  /** A check has found that the log does not end at the position. An event that arrived in the meantime is no reason to skip the read: others may be missing. */
  readUndelivered (): void {
    this.#isChecking = true
    this.#catchUp()
  }

  #catchUp (): void {
    this.#isBehind = true
    if (!this.#isReading) this.#read()
  }

  #onExternal (envelope: Envelope): void {
    this.counts.external += 1
    for (const subscription of this.#subscriptions) subscription.deliverExternal(envelope)
  }

  #onLogged (envelope: LoggedEnvelope): void {
    this.counts.received += 1
    if (this.#undelivered !== undefined && compareIds(envelope.id, this.#undelivered) >= 0) this.#undelivered = undefined
    if (!this.#isReading) {
      if (!this.#deliver(envelope)) this.#catchUp()
      else this.verifiedAt = performance.now()
    } else if (this.#queued.length < maxQueued) this.#queued.push(envelope)
    else this.#isBehind = true
  }

  /** @returns false if events before it are missing. Events at or before the position are skipped; if a clock change only makes them look old, the next check finds them. */
  #deliver (envelope: LoggedEnvelope): boolean {
    if (this.#position === undefined) return false
    if (envelope.prev !== this.#position) return compareIds(envelope.id, this.#position) <= 0
    this.#position = envelope.id
    this.#replayBuffer.add(envelope)
    for (const subscription of this.#caughtUp) subscription.deliver(envelope)
    return true
  }

  /** One read at a time. Messages that arrive in the meantime are queued and delivered afterwards. */
  async #read (): Promise<void> {
    this.#isReading = true
    while (this.#isBehind && !this.#isClosed) {
      this.#isBehind = false
      await this.#readToEnd()
      for (const envelope of this.#queued.splice(0)) if (!this.#deliver(envelope)) this.#isBehind = true
    }
    this.#isReading = false
    this.#isChecking = false
    if (this.#waiting === undefined) return
    const waiting = this.#waiting
    this.#waiting = undefined
    for (const subscription of waiting) this.#replay(subscription)
  }

  async #readToEnd (): Promise<void> {
    for (;;) {
      const page = await this.#readPage(this.#position, () => this.#isClosed)
      if (page === undefined) return
      if (this.#position === undefined) return this.#begin(page.last)
      if (isUnreadable(page) || !page.entries.every((entry) => this.#deliver(entry)) || !(page.isFull || this.#position === page.last)) return this.#reset(page.last)
      this.counts.recovered += page.entries.length
      if (this.#isChecking) this.#undelivered = page.entries.at(-1)?.id ?? this.#undelivered
      if (!page.isFull) return
    }
  }

  #begin (position: string): void {
    this.#position = position
    // Publishes that wait are sent before those of subscribers that are told now.
    this.#beginning?.resolve()
    this.#beginning = undefined
    for (const subscription of this.#caughtUp) subscription.caughtUp(position)
  }

  /**
   * Before it has a position, the topic could begin behind an event that is published now, and its subscribers would never receive it.
   *
   * @returns resolves once it has one, and rejects if its log cannot be read now; undefined if it has one
   */
  whenBegun (): Promise<void> | undefined {
    if (this.#position !== undefined || this.#isClosed) return undefined
    this.#beginning ??= Promise.withResolvers()
    this.#retryNow?.()
    return this.#beginning.promise
  }

  /** The first read has failed: what waits for it fails, and later calls wait for the next one. */
  #failBeginning (error: unknown): void {
    this.#beginning?.reject(error)
    this.#beginning = undefined
  }

  /** Events are lost for all subscriptions at the topic's position. */
  #reset (position: string): void {
    this.counts.resets += 1
    this.#position = position
    this.#undelivered = undefined
    this.#replayBuffer.clear()
    // Copy: a subscription created by a reset listener starts at the new position and must not be reset.
    for (const subscription of [...this.#caughtUp]) subscription.reset(position)
  }

  /** Reads the log for one subscription until it has caught up with the topic. */
  async #replay (subscription: TopicSubscription): Promise<void> {
    let hasRead = false
    while (!subscription.isClosed && !this.#tryCatchUp(subscription, hasRead)) {
      const page = await this.#readPage(subscription.position, () => this.#isClosed || subscription.isClosed)
      if (page === undefined) return
      hasRead = true
      replayPage(subscription, page)
    }
  }

  /** @returns whether the subscription has caught up, or waits for the topic: it reads no further page now */
  #tryCatchUp (subscription: TopicSubscription, hasRead: boolean): boolean {
    const { position = '' } = subscription
    const missed = this.#position === position ? [] : this.#replayBuffer.after(position)
    if (missed !== undefined) return this.#markCaughtUp(subscription, missed)
    if (!hasRead || (this.#position !== undefined && compareIds(position, this.#position) < 0)) return false
    this.#waiting ??= new Set()
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

  /** Retries until Redis replies; undefined when the result is no longer needed. */
  async #readPage (from: string | undefined, isObsolete: () => boolean): Promise<Page | undefined> {
    for (let attempt = 0; !isObsolete(); attempt++) {
      try {
        return await this.#log.read(this.name, from)
      } catch (error) {
        // The connection pool logs the outage; this only retries.
        const ms = retryMs[Math.min(attempt, retryMs.length - 1)] ?? 0
        const wait = new AbortController()
        if (from === undefined) {
          this.#failBeginning(error)
          const retryNow = () => { wait.abort() }
          this.#retryNow = retryNow
        }
        await pause(ms * (0.75 + Math.random() / 2), undefined, { ref: false, signal: wait.signal }).catch(() => {})
        if (from === undefined) this.#retryNow = undefined
      }
    }
    return undefined
  }
}

/** Delivers a page to a subscription, or resets it if events before the page are lost. */
function replayPage (subscription: TopicSubscription, page: Page): void {
  if (isUnreadable(page)) return subscription.reset(page.last)
  for (const entry of page.entries) {
    if (entry.prev !== subscription.position) return subscription.reset(page.last)
    subscription.deliver(entry)
  }
  if (!page.isFull && subscription.position !== page.last) subscription.reset(page.last)
}

/** A full page without an event: another service has written as many entries as a page holds, and the next page would begin where this one did. */
function isUnreadable ({ entries, isFull }: Page): boolean {
  return isFull && entries.length === 0
}
