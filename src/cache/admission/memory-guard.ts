import { RedisReplyError } from '../../shared/errors.ts'
import { memoryThresholds, usedShareOf } from '../../redis/health/memory-info.ts'
import type { MemoryInfo } from '../../redis/health/memory-info.ts'
import { Doorkeeper } from './doorkeeper.ts'
import { Sieve } from './sieve.ts'

/** Memory level of Redis: `normal`; `high`: only responses requested at least twice are stored; `critical`: stored responses are evicted. */
type Level = 'normal' | 'high' | 'critical'

/** Dependencies of {@link MemoryGuard}. */
export interface MemoryGuardOptions {
  /** reads Redis's memory; in a Cluster, of one master per call */
  readonly readMemory: () => Promise<MemoryInfo>
  /** `maxmemory` of the connected server; undefined before the first connection */
  readonly limitBytes: () => number | undefined
  /** number of connections of this process */
  readonly connections: () => number
  /** deletes keys */
  readonly unlink: (names: readonly string[]) => void
  /** counts rejected writes and evictions */
  readonly count: (event: 'admission_rejected' | 'evicted') => void
  /** called when the memory level changes */
  readonly changed: (usage: MemoryUsage) => void
}

/** Redis memory, as this process read it last. */
export interface MemoryUsage {
  readonly level: Level
  readonly usedBytes: number
  /** 0 without a limit, or if it is unknown */
  readonly limitBytes: number
}

/** Hysteresis: a level ends only this far below its threshold, so that it does not flap. */
const hysteresis = 0.02
const underPressureMs = 250
const normalMs = 1000
/** Read interval without a limit, or without permission to run `INFO`. */
const unboundedMs = 60_000
/** In a Cluster each read returns the memory of one master; the readings of the others are used for this long. */
const readingTtlMs = 5000
/** Budget before the first read, as a share of the limit. */
const initialShare = 0.01
/** Bytes per key in addition to its value, and the allocator's rounding factor. */
const overheadBytes = 300
const rounding = 1.2
const maxKeys = 2 ** 16
const maxEvictions = 2048

/**
 * Admission and eviction of cache entries in a Redis that also holds sessions and rate limits. Requests never wait for it: memory is read in the
 * background, and between two reads a process stores at most its share of the free memory.
 */
export class MemoryGuard {
  readonly #options: MemoryGuardOptions
  readonly #stored = new Sieve(maxKeys)
  readonly #doorkeeper = new Doorkeeper()
  readonly #servers = new Map<string, { memory: MemoryInfo, readAt: number }>()
  #usage: MemoryUsage = { level: 'normal', usedBytes: 0, limitBytes: 0 }
  #share = 0
  /** bytes that may be stored until the next read; undefined before the first */
  #leftBytes: number | undefined
  #storedSinceReadBytes = 0
  #isRead = false
  #isBlind = false
  #isReading = false
  #readAt = -Infinity
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (options: MemoryGuardOptions) {
    this.#options = options
  }

  get usage (): MemoryUsage {
    return this.#usage
  }

  /** Records a request for a key. */
  recordAccess (name: string): void {
    if (this.#stored.size > 0) this.#stored.recordAccess(name)
  }

  /** Whether a value of this size may be stored now. An admitted value is subtracted from the budget. */
  admit (name: string, bytes: number): boolean {
    if (!this.#isBounded) return true
    const cost = costOf(bytes)
    this.#leftBytes ??= (this.#options.limitBytes() ?? 0) * initialShare
    const isWanted = this.#share <= memoryThresholds.high || this.#isKnown(name)
    if (cost > this.#leftBytes || !isWanted) return this.#reject()
    this.#leftBytes -= cost
    this.#storedSinceReadBytes += cost
    return true
  }

  /** Records a stored key as a candidate for eviction. */
  stored (name: string, bytes: number, lifetimeMs: number): void {
    if (!this.#isBounded || this.#isClosed) return
    this.#stored.add(name, costOf(bytes), Date.now() + lifetimeMs)
    this.#timer ??= this.#scheduleRead()
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

  /** Whether the key was requested before: it is stored, or the doorkeeper has recorded it. */
  #isKnown (name: string): boolean {
    return this.#stored.has(name) || this.#doorkeeper.saw(name)
  }

  /** Call at each write: reads memory in the same batch if the interval has passed. */
  storing (): void {
    const everyMs = !this.#isBounded ? unboundedMs : this.#usage.level === 'normal' ? normalMs : underPressureMs
    if (performance.now() - this.#readAt >= everyMs) this.#read()
  }

  #read (): void {
    if (this.#isReading) return
    this.#isReading = true
    this.#readAt = performance.now()
    this.#storedSinceReadBytes = 0
    this.#options.readMemory().then((memory) => this.#onReading(memory), (error: unknown) => { this.#isBlind ||= error instanceof RedisReplyError })
      .finally(() => { this.#isReading = false })
  }

  #onReading (memory: MemoryInfo): void {
    const now = performance.now()
    this.#isBlind = false
    this.#isRead = true
    this.#servers.set(memory.server, { memory, readAt: now })
    for (const [server, { readAt }] of this.#servers) if (now - readAt > readingTtlMs) this.#servers.delete(server)
    const fullest = [...this.#servers.values()].map((each) => each.memory).reduce((one, other) => usedShareOf(one) > usedShareOf(other) ? one : other)
    this.#applyUsage(fullest)
    this.#evict(memory)
    this.#scheduleNext()
  }

  #applyUsage (memory: MemoryInfo): void {
    const { usedBytes, limitBytes } = memory
    this.#share = usedShareOf(memory)
    this.#leftBytes = Math.max(0, limitBytes * memoryThresholds.full - usedBytes) * this.#processShare(memory) - this.#storedSinceReadBytes
    const level = levelAfter(this.#usage.level, this.#share)
    const hasChanged = level !== this.#usage.level
    this.#usage = { level, usedBytes, limitBytes }
    if (hasChanged) this.#options.changed(this.#usage)
  }

  /** This process's share of the common budget: its share of all connections. */
  #processShare ({ clients }: MemoryInfo): number {
    const own = Math.max(1, this.#options.connections())
    return own / Math.max(own, clients)
  }

  /** Evicts entries stored by this process until its share of the excess is freed. */
  #evict (memory: MemoryInfo): void {
    if (memory.limitBytes === 0) return
    const wanted = (memory.usedBytes - memory.limitBytes * memoryThresholds.critical) * this.#processShare(memory)
    const names: string[] = []
    for (let freed = 0; freed < wanted && names.length < maxEvictions;) {
      const next = this.#stored.take(Date.now())
      if (next === undefined) break
      freed += next.bytes
      if (next.bytes > 0) names.push(next.name)
    }
    if (names.length > 0) this.#options.unlink(names)
    names.forEach(() => this.#options.count('evicted'))
  }

  /** Reads memory periodically while this process has entries to evict, even without writes: other clients use the same memory. */
  #scheduleNext (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#isClosed || !this.#isBounded) return
    if (this.#usage.level !== 'normal' || this.#stored.size > 0) this.#timer = this.#scheduleRead()
  }

  #scheduleRead (): NodeJS.Timeout {
    return setTimeout(() => {
      this.#timer = undefined
      this.#read()
    }, this.#usage.level === 'normal' ? normalMs : underPressureMs).unref()
  }
}

function costOf (bytes: number): number {
  return bytes * rounding + overheadBytes
}

/** The level for a used share of `maxmemory`, given the previous level. */
function levelAfter (before: Level, share: number): Level {
  const { critical, high } = memoryThresholds
  if (share > critical || (before === 'critical' && share > critical - hysteresis)) return 'critical'
  return share > high || (before !== 'normal' && share > high - hysteresis) ? 'high' : 'normal'
}
