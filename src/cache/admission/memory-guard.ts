import { RedisReplyError } from '../../shared/errors.ts'
import { Doorkeeper } from './doorkeeper.ts'
import { closedShare, fullShare, levelAfter, readFigures, shareOf, tightShare } from './memory-level.ts'
import type { Figures, Level } from './memory-level.ts'
import { Sieve } from './sieve.ts'

/** What the room needs of the rest. */
export interface MemoryGuardOptions {
  /** the reply to `INFO` with `sections`; of a Cluster, one master's at a time */
  readonly info: () => Promise<string>
  /** what the server had said of its limit when it was reached; undefined before */
  readonly limitBytes: () => number | undefined
  /** connections of this process */
  readonly connections: () => number
  /** gives keys up */
  readonly unlink: (names: readonly string[]) => void
  /** told what became of what was to be stored, or was */
  readonly count: (event: 'admission_rejected' | 'evicted') => void
  /** told how full Redis is, when that has changed */
  readonly changed: (usage: MemoryUsage) => void
}

/** How full Redis is, as this process saw it last. */
export interface MemoryUsage {
  readonly level: Level
  readonly usedBytes: number
  /** 0 when no limit is set, or it is not known */
  readonly limitBytes: number
}

const underPressureMs = 250
const calmMs = 1000
/** Without a limit, or without a right to ask for it, it is asked for seldom. */
const unboundedMs = 60_000
/** Of a Cluster each reading tells of one master; what the others said holds for so long. */
const heldMs = 5000
/** What may be stored before memory was read first. */
const firstShare = 0.01
/** What a key costs Redis beside its value, and what its allocator rounds up. */
const overheadBytes = 300
const rounding = 1.2
const mostKeys = 2 ** 16
const mostShed = 2048

/**
 * What this process may store in a Redis that sessions and limits share. Nobody waits for it: memory is read beside what requests ask,
 * and between two readings the process stores no more than its share of what was free.
 */
export class MemoryGuard {
  readonly #options: MemoryGuardOptions
  readonly #stored = new Sieve(mostKeys)
  readonly #doorkeeper = new Doorkeeper()
  readonly #servers = new Map<string, { figures: Figures, readAt: number }>()
  #usage: MemoryUsage = { level: 'normal', usedBytes: 0, limitBytes: 0 }
  #share = 0
  /** bytes until the next reading; undefined before the first */
  #leftBytes: number | undefined
  #sinceAskedBytes = 0
  #isRead = false
  #isBlind = false
  #isAsking = false
  #askedAt = -Infinity
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (options: MemoryGuardOptions) {
    this.#options = options
  }

  get usage (): MemoryUsage {
    return this.#usage
  }

  /** Notes that a key was asked for. */
  asked (name: string): void {
    if (this.#stored.size > 0) this.#stored.asked(name)
  }

  /** Whether something of so many bytes may be stored now; if so, it is taken off what is left. */
  admit (name: string, bytes: number): boolean {
    if (!this.#isBounded) return true
    const cost = costOf(bytes)
    this.#leftBytes ??= (this.#options.limitBytes() ?? 0) * firstShare
    const isTold = this.#share <= tightShare || this.#isKnown(name)
    if (cost > this.#leftBytes || !isTold) return this.#reject()
    this.#leftBytes -= cost
    this.#sinceAskedBytes += cost
    return true
  }

  /** Notes that something was stored: it may have to go again. */
  kept (name: string, bytes: number, lifetimeMs: number): void {
    if (!this.#isBounded || this.#isClosed) return
    this.#stored.add(name, costOf(bytes), Date.now() + lifetimeMs)
    this.#timer ??= this.#askLater()
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  get #isBounded (): boolean {
    if (this.#isBlind) return false
    return (this.#isRead ? this.#usage.limitBytes : this.#options.limitBytes() ?? 0) > 0
  }

  #reject (): false {
    this.#options.count('admission_rejected')
    this.storing()
    return false
  }

  /** What is stored, and what has come by before, is asked for twice. */
  #isKnown (name: string): boolean {
    return this.#stored.has(name) || this.#doorkeeper.saw(name)
  }

  /** Something leaves for Redis: memory is read along with it, when it is time. */
  storing (): void {
    const everyMs = !this.#isBounded ? unboundedMs : this.#usage.level === 'normal' ? calmMs : underPressureMs
    if (performance.now() - this.#askedAt >= everyMs) this.#ask()
  }

  #ask (): void {
    if (this.#isAsking) return
    this.#isAsking = true
    this.#askedAt = performance.now()
    this.#sinceAskedBytes = 0
    this.#options.info().then((text) => this.#heard(readFigures(text)), (error: unknown) => { this.#isBlind ||= error instanceof RedisReplyError })
      .finally(() => { this.#isAsking = false })
  }

  #heard (figures: Figures): void {
    const now = performance.now()
    this.#isBlind = false
    this.#isRead = true
    this.#servers.set(figures.server, { figures, readAt: now })
    for (const [server, { readAt }] of this.#servers) if (now - readAt > heldMs) this.#servers.delete(server)
    const tightest = [...this.#servers.values()].map((each) => each.figures).reduce((one, other) => shareOf(one) > shareOf(other) ? one : other)
    this.#applyUsage(tightest)
    this.#evict(figures)
    this.#askAgain()
  }

  #applyUsage (figures: Figures): void {
    const { usedBytes, limitBytes } = figures
    this.#share = shareOf(figures)
    this.#leftBytes = Math.max(0, limitBytes * closedShare - usedBytes) * this.#part(figures) - this.#sinceAskedBytes
    const level = levelAfter(this.#usage.level, this.#share)
    const hasChanged = level !== this.#usage.level
    this.#usage = { level, usedBytes, limitBytes }
    if (hasChanged) this.#options.changed(this.#usage)
  }

  /** This process's part of what all may do together, by its part of all connections. */
  #part ({ clients }: Figures): number {
    const own = Math.max(1, this.#options.connections())
    return own / Math.max(own, clients)
  }

  /** Gives up what this process has stored, until its part of what is too much is gone. */
  #evict (figures: Figures): void {
    if (figures.limitBytes === 0) return
    const wanted = (figures.usedBytes - figures.limitBytes * fullShare) * this.#part(figures)
    const names: string[] = []
    for (let freed = 0; freed < wanted && names.length < mostShed;) {
      const next = this.#stored.take(Date.now())
      if (next === undefined) break
      freed += next.bytes
      if (next.bytes > 0) names.push(next.name)
    }
    if (names.length > 0) this.#options.unlink(names)
    names.forEach(() => this.#options.count('evicted'))
  }

  /** While something could be given up it is looked at though nobody stores, oftener under pressure: others fill the same memory. */
  #askAgain (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#isClosed || !this.#isBounded) return
    if (this.#usage.level !== 'normal' || this.#stored.size > 0) this.#timer = this.#askLater()
  }

  #askLater (): NodeJS.Timeout {
    return setTimeout(() => {
      this.#timer = undefined
      this.#ask()
    }, this.#usage.level === 'normal' ? calmMs : underPressureMs).unref()
  }
}

function costOf (bytes: number): number {
  return bytes * rounding + overheadBytes
}
