import { RedisUnavailableError } from '../../shared/errors.ts'
import { Histogram } from '../../shared/histogram.ts'
import { CommandCounters } from './command-counters.ts'
import { PendingReply } from './pending-reply.ts'
import { setTimeoutAfterIo, defaultDeadlineMs } from '../health/deadline.ts'
import { InFlightWrite } from './in-flight-write.ts'
import type { WriteObserver, WriteOptions } from './in-flight-write.ts'
import type { Connection } from '../connection.ts'
import type { Argument } from './resp-encoder.ts'
import { ScriptOperation, packScripts, packCommand, packHead, packRead, packReads, GetOperation } from './batched-command.ts'
import type { BatchedCommand } from './batched-command.ts'
import { LargeValueSizes } from './large-value-sizes.ts'
import type { BatchScript } from './script.ts'

/** Operations that a request waits for are sent before background operations. */
export type Priority = 'request' | 'background'

/** Size of one tick's batch; final once the batch was sent. */
export interface BatchSize { operations: number, commands: number }

/** Selects the connection of a write. */
export interface ConnectionPicker {
  /** the connection for the next write; undefined when none is ready, or the circuit breaker is open */
  choose (): Connection | undefined
  /** a connection with capacity for a reply of this size, preferably not the one that small replies use; undefined when there is none */
  chooseFor (bytes: number): Connection | undefined
  /** records that a write found no connection */
  onNoConnection (): void
}

/** A read that waits for a connection with capacity for its reply. */
interface LargeRead { read: GetOperation, bytes: number, timer: NodeJS.Timeout, deadlineAt: number }

/** The read of the first bytes of a key, shared by all its callers. */
interface HeadOperation { readonly read: GetOperation, readonly bytes: number }

/** The operations that one tick has enqueued. */
class TickQueue {
  readonly reads = new Map<string, GetOperation>()
  /** reads of first bytes; undefined while there are none */
  heads: Map<string, HeadOperation> | undefined
  readonly scripts = new Map<BatchScript<unknown>, ScriptOperation[]>()
  readonly commands: BatchedCommand[] = []

  pack (isCluster: boolean, sizes: LargeValueSizes): BatchedCommand[] {
    const batchedCommands = this.reads.size === 0 ? [] : packReads(this.reads, isCluster, sizes)
    if (this.heads !== undefined) for (const { read, bytes } of this.heads.values()) batchedCommands.push(packHead(read, bytes))
    for (const [script, operations] of this.scripts) batchedCommands.push(...packScripts(script, operations, isCluster))
    batchedCommands.push(...this.commands)
    return batchedCommands
  }

  reject (error: Error): void {
    for (const read of this.reads.values()) read.reject(error)
    if (this.heads !== undefined) for (const { read } of this.heads.values()) read.reject(error)
    for (const operations of this.scripts.values()) for (const operation of operations) operation.reject(error)
    for (const command of this.commands) command.failed(error)
  }
}

/**
 * Collects the operations of all requests of one event-loop tick, and sends them as one write on one connection, in a few commands.
 *
 * Every operation settles exactly once, within `redis.commandTimeout` (default 200 ms) plus one turn of the event loop: with its own reply, its own error
 * ({@link RedisReplyError}), or a {@link RedisUnavailableError}. A script that timed out may still have run, so its writes must be idempotent or
 * guarded by a version.
 */
export class Batch implements WriteObserver {
  /** Since process start: writes, their commands, enqueued operations, and writes with a late reply. */
  readonly counts = { writes: 0, commands: 0, operations: 0, timeouts: 0 }
  /** Time until the last reply of each write, seconds. */
  readonly roundTrips = new Histogram()
  /** Calls, errors and durations by command. */
  readonly byCommand = new CommandCounters()
  /** Incremented at each flush. Code that changes the arguments of an enqueued operation compares it to know whether the operation has been sent. */
  tick = 0
  /** Size of this tick's batch so far; a new object for each batch. */
  collecting: BatchSize = { operations: 0, commands: 0 }
  readonly #connections: ConnectionPicker
  #request = new TickQueue()
  #background = new TickQueue()
  #large: LargeRead[] = []
  readonly #largeByKey = new LargeValueSizes()
  /** resolves with the replies of this tick's operations; created for the first request that waits */
  #replies: PromiseWithResolvers<void> | undefined
  #isCluster = true
  #isScheduled = false

  /** Time limit for a reply, milliseconds. */
  readonly deadlineMs: number

  constructor (connections: ConnectionPicker, deadlineMs = defaultDeadlineMs) {
    this.#connections = connections
    this.deadlineMs = deadlineMs
  }

  /**
   * Enqueues the read of a string. Reads of the same key in one tick are one operation.
   *
   * @returns its bytes (shared by all callers: do not modify them); null when the key does not exist or is not a string.
   * It fails with {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  enqueueGet (key: string, priority: Priority = 'request'): PendingReply<Buffer | null> {
    const { reads } = this.#collect(priority)
    let read = reads.get(key)
    if (read === undefined) reads.set(key, read = new GetOperation(key))
    return read
  }

  /** As {@link enqueueGet}, for the first bytes of a string. All callers read the same number of bytes. */
  enqueueHead (key: string, bytes: number, priority: Priority = 'request'): PendingReply<Buffer | null> {
    const queue = this.#collect(priority)
    const heads = queue.heads ??= new Map<string, HeadOperation>()
    let head = heads.get(key)
    if (head === undefined) heads.set(key, head = { read: new GetOperation(key), bytes })
    return head.read
  }

  /**
   * Enqueues a script operation. Operations of one tick share a call. In a Cluster all keys of one operation must share a slot.
   *
   * @returns it fails with {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY when this operation failed
   */
  enqueueScript<Value> (script: BatchScript<Value>, keys: ScriptOperation['keys'], args: ScriptOperation['args'], priority: Priority = 'request'): ScriptOperation<Value> {
    return this.enqueueOperation(script, new ScriptOperation<Value>(keys, args), priority)
  }

  /** As {@link enqueueScript}, for an operation of a class of its own. */
  enqueueOperation<Value, Operation extends ScriptOperation<Value>> (script: BatchScript<Value>, operation: Operation, priority: Priority = 'request'): Operation {
    const { scripts } = this.#collect(priority)
    const others = scripts.get(script)
    if (others === undefined) scripts.set(script, [operation as ScriptOperation])
    else others.push(operation as ScriptOperation)
    return operation
  }

  /**
   * Resolves when the operations of this tick with priority `request` have settled, except for large reads. One promise for all requests of the tick. A
   * continuation runs in the async context in which it was registered.
   *
   * @returns undefined if nothing is enqueued, and for a Cluster, where one node may be slower than another
   */
  get replies (): Promise<void> | undefined {
    if (this.#isCluster || this.collecting.operations === 0) return undefined
    return (this.#replies ??= Promise.withResolvers<void>()).promise
  }

  /** As {@link enqueueGet}, as a promise. */
  get (key: string, priority?: Priority): Promise<Buffer | null> {
    return this.enqueueGet(key, priority).promise()
  }

  /** As {@link enqueueScript}, as a promise. */
  runScript<Value> (script: BatchScript<Value>, keys: ScriptOperation['keys'], args: ScriptOperation['args'], priority?: Priority): Promise<Value> {
    return this.enqueueScript(script, keys, args, priority).promise()
  }

  /**
   * Sends any command with the batch. Its reply is text.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY
   */
  command (name: string, args: Argument[], priority: Priority = 'request'): Promise<unknown> {
    const reply = new PendingReply<unknown>()
    this.#collect(priority).commands.push(packCommand(name, args, reply))
    return reply.promise()
  }

  /** Records the time until the last reply of a write. */
  completed (ms: number): void {
    this.roundTrips.observe(ms / 1000)
  }

  /** Records one command of a write. */
  settled (name: string, ms: number, hasFailed: boolean): void {
    this.byCommand.count(name, ms / 1000, hasFailed)
  }

  /** Records a write with a late reply. */
  timedOut (): void {
    this.counts.timeouts += 1
  }

  #collect (priority: Priority): TickQueue {
    this.counts.operations += 1
    this.collecting.operations += 1
    if (!this.#isScheduled) {
      this.#isScheduled = true
      // setImmediate runs after all sockets that are readable in this tick were read, so their requests share one write.
      setImmediate(() => this.#flush())
    }
    return priority === 'request' ? this.#request : this.#background
  }

  #flush (): void {
    this.#isScheduled = false
    this.tick += 1
    const all = [this.#request, this.#background]
    this.#request = new TickQueue()
    this.#background = new TickQueue()
    const size = this.collecting
    this.collecting = { operations: 0, commands: 0 }
    const replies = this.#replies
    this.#replies = undefined
    const connection = this.#connections.choose()
    if (connection === undefined) {
      this.#refuse(all)
      return replies?.resolve()
    }
    this.#isCluster = connection.isCluster
    const [forRequests, inBackground] = all.map((queue) => this.#pack(queue, connection)) as [BatchedCommand[], BatchedCommand[]]
    size.commands = this.#send(connection, inBackground.length === 0 ? forRequests : [...forRequests, ...inBackground], { awaited: forRequests.length, replies })
    this.#sendLarge()
  }

  #pack (queue: TickQueue, { isCluster }: Connection): BatchedCommand[] {
    this.#extractLarge(queue)
    return queue.pack(isCluster, this.#largeByKey)
  }

  #refuse (all: readonly TickQueue[]): void {
    this.#connections.onNoConnection()
    const error = new RedisUnavailableError('no connection')
    for (const queue of all) queue.reject(error)
  }

  /** @returns the number of commands sent */
  #send (connection: Connection, batchedCommands: readonly BatchedCommand[], options?: WriteOptions): number {
    const { size } = new InFlightWrite(batchedCommands, connection, this, options)
    if (size > 0) this.counts.writes += 1
    this.counts.commands += size
    return size
  }

  /** Removes keys with a known large value from the shared MGET. */
  #extractLarge ({ reads }: TickQueue): void {
    if (this.#largeByKey.isEmpty) return
    for (const [key, read] of reads) {
      const bytes = this.#largeByKey.get(key)
      if (bytes === undefined) continue
      reads.delete(key)
      this.#large.push({ read, bytes, timer: setTimeoutAfterIo(this.deadlineMs, () => this.#expireLarge(read)), deadlineAt: performance.now() + this.deadlineMs })
    }
  }

  /** Sends large reads in order, on connections with capacity for their replies. The rest waits for capacity, or its deadline. */
  #sendLarge (): void {
    for (let next = this.#large[0]; next !== undefined; next = this.#large[0]) {
      const { read, bytes, timer, deadlineAt } = next
      const connection = this.#connections.chooseFor(bytes)
      if (connection === undefined) return
      clearTimeout(timer)
      this.#large.shift()
      connection.expectedBytes += bytes
      const onSettled = () => {
        connection.expectedBytes -= bytes
        this.#sendLarge()
      }
      const sent = this.#send(connection, [{ ...packRead(read, this.#largeByKey), onSettled }], { remainingMs: Math.max(1, deadlineAt - performance.now()) })
      if (sent === 0) connection.expectedBytes -= bytes
    }
  }

  #expireLarge (read: GetOperation): void {
    const waiting = this.#large.length
    this.#large = this.#large.filter((large) => large.read !== read)
    if (this.#large.length < waiting) read.reject(new RedisUnavailableError(`no capacity within ${this.deadlineMs} ms`))
  }
}
