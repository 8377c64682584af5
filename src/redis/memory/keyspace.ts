import { ErrorReply } from './reply.ts'
import { SortedSet } from './sorted-set.ts'
import { Stream } from './stream.ts'

/** A hash by field; a field is in latin1, so that its characters are its bytes. */
export type Hash = Map<string, Buffer>
type Value = Buffer | Hash | Set<string> | Buffer[] | SortedSet | Stream

/** The value of a key. */
export interface Entry {
  value: Value
  /** milliseconds since 1970; Infinity for a key that does not expire */
  expiresAt: number
  /** grows with each new key, in the order in which SCAN returns them */
  readonly number: number
}

/** A client that watches keys for its transaction. */
interface Watcher { isDirty: boolean }

const wrongType = 'WRONGTYPE Operation against a key holding the wrong kind of value'
const sweepEvery = 1000

/** One database: keys in latin1, their values and their expiry. */
export class Keyspace {
  readonly #entries = new Map<string, Entry>()
  readonly #watchers = new Map<string, Set<Watcher>>()
  readonly #nowMs: () => number
  #number = 0
  #newKeys = 0
  expiredKeys = 0

  /** @param nowMs the clock; it must not move while a command runs */
  constructor (nowMs: () => number) {
    this.#nowMs = nowMs
  }

  get size (): number {
    this.sweep()
    return this.#entries.size
  }

  find (key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expiresAt > this.#nowMs()) return entry
    this.#expire(key)
    return undefined
  }

  string (key: string): Buffer | undefined {
    return this.#read(key, (value) => Buffer.isBuffer(value)) as Buffer | undefined
  }

  hash (key: string): Hash | undefined {
    return this.#read(key, (value) => value instanceof Map) as Hash | undefined
  }

  set (key: string): Set<string> | undefined {
    return this.#read(key, (value) => value instanceof Set) as Set<string> | undefined
  }

  list (key: string): Buffer[] | undefined {
    return this.#read(key, Array.isArray) as Buffer[] | undefined
  }

  sortedSet (key: string): SortedSet | undefined {
    return this.#read(key, (value) => value instanceof SortedSet) as SortedSet | undefined
  }

  stream (key: string): Stream | undefined {
    return this.#read(key, (value) => value instanceof Stream) as Stream | undefined
  }

  /** Stores a value. Call it, or {@link changed}, after each change. @param expiresAt default: as before */
  put (key: string, value: Value, expiresAt?: number): void {
    const before = this.find(key)
    if (before === undefined) {
      this.#entries.set(key, { value, expiresAt: expiresAt ?? Infinity, number: ++this.#number })
      this.#sweepSometimes()
    } else {
      before.value = value
      before.expiresAt = expiresAt ?? before.expiresAt
    }
    this.changed(key)
  }

  delete (key: string): boolean {
    if (this.find(key) === undefined) return false
    this.#entries.delete(key)
    this.changed(key)
    return true
  }

  /** Deletes a collection that has become empty; reports the change in any case. */
  shrunk (key: string, isEmpty: boolean): void {
    if (isEmpty) this.delete(key)
    else this.changed(key)
  }

  clear (): void {
    for (const key of this.#entries.keys()) this.changed(key)
    this.#entries.clear()
  }

  /** Marks the clients that watch a key. */
  changed (key: string): void {
    for (const watcher of this.#watchers.get(key) ?? []) watcher.isDirty = true
  }

  watch (key: string, watcher: Watcher): void {
    this.find(key)
    const watchers = this.#watchers.get(key) ?? new Set()
    this.#watchers.set(key, watchers.add(watcher))
  }

  unwatch (watcher: Watcher): void {
    for (const [key, watchers] of this.#watchers) if (watchers.delete(watcher) && watchers.size === 0) this.#watchers.delete(key)
  }

  /** The keys that have not expired, in the order of their numbers. */
  * entries (): Generator<[key: string, entry: Entry]> {
    for (const [key, entry] of this.#entries) if (this.find(key) !== undefined) yield [key, entry]
  }

  /** Deletes expired keys, which otherwise are deleted when they are read. */
  sweep (): void {
    for (const key of this.#entries.keys()) this.find(key)
  }

  /** A process that only writes must not grow: at most one pass for as many new keys as there are keys. */
  #sweepSometimes (): void {
    if (++this.#newKeys < Math.max(sweepEvery, this.#entries.size)) return
    this.#newKeys = 0
    this.sweep()
  }

  #expire (key: string): void {
    this.#entries.delete(key)
    this.expiredKeys += 1
    this.changed(key)
  }

  #read (key: string, isOfType: (value: Value) => boolean): Value | undefined {
    const value = this.find(key)?.value
    if (value !== undefined && !isOfType(value)) throw new ErrorReply(wrongType)
    return value
  }
}

/** The type of a value, as TYPE replies it. */
export function typeOf (value: Value): string {
  if (Buffer.isBuffer(value)) return 'string'
  if (value instanceof Map) return 'hash'
  if (value instanceof Set) return 'set'
  if (value instanceof SortedSet) return 'zset'
  return value instanceof Stream ? 'stream' : 'list'
}

const keyOverhead = 56

/** About the bytes that Redis would use for a key. */
export function bytesOf (key: string, { value }: Entry): number {
  return keyOverhead + key.length + valueBytes(value)
}

function valueBytes (value: Value): number {
  if (Buffer.isBuffer(value)) return value.length
  const sum = (lengths: Iterable<number>) => [...lengths].reduce((all, each) => all + each + 16, 0)
  if (value instanceof Map) return sum([...value].map(([field, { length }]) => field.length + length))
  if (value instanceof Set) return sum([...value].map(({ length }) => length))
  if (value instanceof SortedSet) return sum(value.members.map(({ name }) => name.length + 8))
  return value instanceof Stream ? sum(value.range(0n, value.lastId).map(({ fields }) => fields.reduce((all, { length }) => all + length, 0))) : sum(value.map(({ length }) => length))
}
