import { LRUCache } from 'lru-cache'
import { RedisUnavailableError } from '../../shared/errors.ts'
import { Histogram } from '../../shared/histogram.ts'
import { PendingReply } from './pending-reply.ts'
import { setTimeoutAfterIo, defaultDeadlineMs } from '../health/deadline.ts'
import { InFlightWrite } from './in-flight-write.ts'
import type { WriteObserver } from './in-flight-write.ts'
import type { Connection } from '../connection.ts'
import type { Argument } from './resp-encoder.ts'
import { ScriptOperation, packScripts, packCommand, packRead, packReads, GetOperation } from './batched-command.ts'
import type { BatchedCommand } from './batched-command.ts'
import type { Script } from './script.ts'

/** What a request waits for leaves before background work. */
export type Priority = 'request' | 'background'

/** How much one tick's batch carries; complete once it has left. */
export interface BatchSize { operations: number, commands: number }

/** Where a batch finds its connections. */
export interface ConnectionPicker {
  /** the connection that takes the next write; undefined when none is ready, or Redis is not asked now */
  choose (): Connection | undefined
  /** a connection with room for an answer of so many bytes, best not the one that small answers use; undefined when there is none now */
  chooseFor (bytes: number): Connection | undefined
  /** notes that somebody asked while there was nobody to ask */
  missed (): void
}

/** A read that waits for a connection with room for its answer. */
interface LargeRead { read: GetOperation, bytes: number, timer: NodeJS.Timeout, deadlineAt: number }

/** What one tick has asked for so far. */
class TickQueue {
  readonly reads = new Map<string, GetOperation>()
  readonly scripts = new Map<Script<unknown>, ScriptOperation[]>()
  readonly commands: BatchedCommand[] = []

  pack (isCluster: boolean, sizes: LRUCache<string, number>): BatchedCommand[] {
    const batchedCommands = this.reads.size === 0 ? [] : packReads(this.reads, isCluster, sizes)
    for (const [script, operations] of this.scripts) batchedCommands.push(...packScripts(script, operations, isCluster))
    batchedCommands.push(...this.commands)
    return batchedCommands
  }

  reject (error: Error): void {
    for (const read of this.reads.values()) read.reject(error)
    for (const operations of this.scripts.values()) for (const operation of operations) operation.reject(error)
    for (const command of this.commands) command.failed(error)
  }
}

/**
 * Collects what all requests of one event-loop tick ask of Redis, and sends it as one write on one connection, in a handful of commands.
 *
 * Every ask settles exactly once within 250 ms: with its own answer, its own error ({@link RedisReplyError}), or a {@link RedisUnavailableError}.
 * A script that timed out may still have run: what it writes is idempotent or guarded by a version.
 */
export class Batch implements WriteObserver {
  /** Counts since the start: writes, commands in them, asks answered by them, writes whose answer did not come in time. */
  readonly counts = { writes: 0, commands: 0, asks: 0, timeouts: 0 }
  /** How long the last answer of each write took to come. */
  readonly roundTrips = new Histogram()
  /** Grows each time what was collected leaves: who changes an ask's arguments until then can tell. */
  tick = 0
  /** What this tick's batch carries so far; another object for each batch. */
  collecting: BatchSize = { operations: 0, commands: 0 }
  readonly #connections: ConnectionPicker
  #request = new TickQueue()
  #background = new TickQueue()
  #large: LargeRead[] = []
  readonly #largeByKey = new LRUCache<string, number>({ max: 10_000 })
  #isScheduled = false

  /** How long an answer is waited for. */
  readonly deadlineMs: number

  constructor (connections: ConnectionPicker, deadlineMs = defaultDeadlineMs) {
    this.#connections = connections
    this.deadlineMs = deadlineMs
  }

  /**
   * Reads a string; the same key is asked once a tick, however many want it.
   *
   * @returns its bytes (shared by all who asked: do not write into them); null when there is none, or it is not a string.
   * It fails with {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  enqueueGet (key: string, priority: Priority = 'request'): PendingReply<Buffer | null> {
    const { reads } = this.#collect(priority)
    let read = reads.get(key)
    if (read === undefined) reads.set(key, read = new GetOperation(key))
    return read
  }

  /**
   * Asks a script; asks of one tick share a call. In a Cluster all keys of one ask must share a slot.
   *
   * @returns it fails with {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY when this ask failed
   */
  enqueueScript<Value> (script: Script<Value>, keys: ScriptOperation['keys'], args: ScriptOperation['args'], priority: Priority = 'request'): ScriptOperation<Value> {
    const { scripts } = this.#collect(priority)
    const operation = new ScriptOperation<Value>(keys, args)
    const others = scripts.get(script)
    if (others === undefined) scripts.set(script, [operation as ScriptOperation])
    else others.push(operation as ScriptOperation)
    return operation
  }

  /** As {@link enqueueGet}, for who waits. */
  get (key: string, priority?: Priority): Promise<Buffer | null> {
    return this.enqueueGet(key, priority).promise()
  }

  /** As {@link enqueueScript}, for who waits. */
  runScript<Value> (script: Script<Value>, keys: ScriptOperation['keys'], args: ScriptOperation['args'], priority?: Priority): Promise<Value> {
    return this.enqueueScript(script, keys, args, priority).promise()
  }

  /**
   * Sends a command of the caller's own along with the rest; its reply comes as text.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY
   */
  command (name: string, args: Argument[], priority: Priority = 'request'): Promise<unknown> {
    const reply = new PendingReply<unknown>()
    this.#collect(priority).commands.push(packCommand(name, args, reply))
    return reply.promise()
  }

  /** Notes how long a write's last answer took. */
  completed (ms: number): void {
    this.roundTrips.observe(ms / 1000)
  }

  /** Notes a write whose answer did not come in time. */
  timedOut (): void {
    this.counts.timeouts += 1
  }

  #collect (priority: Priority): TickQueue {
    this.counts.asks += 1
    this.collecting.operations += 1
    if (!this.#isScheduled) {
      this.#isScheduled = true
      // After all sockets that became readable in this tick have been read: their requests leave together.
      setImmediate(() => this.#leave())
    }
    return priority === 'request' ? this.#request : this.#background
  }

  #leave (): void {
    this.#isScheduled = false
    this.tick += 1
    const all = [this.#request, this.#background]
    this.#request = new TickQueue()
    this.#background = new TickQueue()
    const size = this.collecting
    this.collecting = { operations: 0, commands: 0 }
    const connection = this.#connections.choose()
    if (connection === undefined) return this.#refuse(all)
    const batchedCommands = all.flatMap((wants) => {
      this.#setLargeAside(wants)
      return wants.pack(connection.isCluster, this.#largeByKey)
    })
    size.commands = this.#send(connection, batchedCommands)
    this.#sendLarge()
  }

  #refuse (all: readonly TickQueue[]): void {
    this.#connections.missed()
    const error = new RedisUnavailableError('no connection')
    for (const wants of all) wants.reject(error)
  }

  /** @returns how many commands have left */
  #send (connection: Connection, batchedCommands: readonly BatchedCommand[], remainingMs = this.deadlineMs): number {
    const { size } = new InFlightWrite(batchedCommands, connection, this, remainingMs)
    if (size > 0) this.counts.writes += 1
    this.counts.commands += size
    return size
  }

  /** Takes keys that are known to hold much out of the common command. */
  #setLargeAside ({ reads }: TickQueue): void {
    if (this.#largeByKey.size === 0) return
    for (const [key, read] of reads) {
      const bytes = this.#largeByKey.get(key)
      if (bytes === undefined) continue
      reads.delete(key)
      this.#large.push({ read, bytes, timer: setTimeoutAfterIo(this.deadlineMs, () => this.#expireLarge(read)), deadlineAt: performance.now() + this.deadlineMs })
    }
  }

  /** Sends large reads, in order, wherever there is room for their answers; the rest waits for room, or its deadline. */
  #sendLarge (): void {
    for (let next = this.#large[0]; next !== undefined; next = this.#large[0]) {
      const { read, bytes, timer, deadlineAt } = next
      const connection = this.#connections.chooseFor(bytes)
      if (connection === undefined) return
      clearTimeout(timer)
      this.#large.shift()
      connection.expectedBytes += bytes
      const landed = () => {
        connection.expectedBytes -= bytes
        this.#sendLarge()
      }
      const left = this.#send(connection, [{ ...packRead(read, this.#largeByKey), landed }], Math.max(1, deadlineAt - performance.now()))
      if (left === 0) connection.expectedBytes -= bytes
    }
  }

  #expireLarge (read: GetOperation): void {
    const waiting = this.#large.length
    this.#large = this.#large.filter((large) => large.read !== read)
    if (this.#large.length < waiting) read.reject(new RedisUnavailableError(`no room within ${this.deadlineMs} ms`))
  }
}
