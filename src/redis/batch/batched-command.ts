import type { Command } from 'ioredis'
import type { LargeValueSizes } from './large-value-sizes.ts'
import { RedisReplyError } from '../../shared/errors.ts'
import { PendingReply } from './pending-reply.ts'
import type { ScriptArgs } from './script-call.ts'
import { BatchCommand } from './resp-encoder.ts'
import type { Argument, FillCommand } from './resp-encoder.ts'
import type { BatchScript } from './script.ts'

/** The read of one key, shared by all its callers. */
export class GetOperation extends PendingReply<Buffer | null> {
  readonly key: string

  constructor (key: string) {
    super()
    this.key = key
  }
}

/** One operation of a script, with its own keys and arguments. */
export class ScriptOperation<Value = unknown> extends PendingReply<Value> implements ScriptArgs {
  readonly keys: ScriptArgs['keys']
  /** sent at the end of the tick; until then the caller may replace them */
  args: ScriptArgs['args']

  constructor (keys: ScriptArgs['keys'], args: ScriptArgs['args']) {
    super()
    this.keys = keys
    this.args = args
  }
}

/** One Redis command that carries several operations, and settles each with its own reply. */
export interface BatchedCommand {
  /** the command's name */
  readonly name: string
  /** name in metrics, if it is not the command's */
  readonly label?: string
  /** one of its keys, from which a Cluster client computes the slot */
  readonly key?: string
  /** adds the command's name and arguments; undefined if `command` is set */
  readonly fill?: FillCommand
  /** adds the same command with the script's text, for a server that replied NOSCRIPT: nothing was executed */
  readonly fillWithText?: FillCommand
  /** a command that ioredis encodes and whose reply it transforms */
  readonly command?: Command
  replied: (reply: unknown) => void
  failed: (error: Error) => void
  /** called when the reply has arrived or will never arrive, also after the deadline */
  onSettled?: () => void
  /** the last error of a single operation inside the reply */
  serverError?: Error
}

/** A value larger than this is read with its own command: small replies must not wait behind it. */
const largeBytes = 32_768
const keysPerCall = 128

/** Packs reads: up to 128 keys per MGET, except in a Cluster, where a command may use one slot only. */
export function packReads (reads: ReadonlyMap<string, GetOperation>, isCluster: boolean, sizes: LargeValueSizes): BatchedCommand[] {
  const all = [...reads.values()]
  if (isCluster) return all.map((read) => packRead(read, sizes))
  const batchedCommands: BatchedCommand[] = []
  for (let start = 0; start < all.length; start += keysPerCall) batchedCommands.push(packMany(all.slice(start, start + keysPerCall), sizes))
  return batchedCommands
}

function packMany (reads: readonly GetOperation[], sizes: LargeValueSizes): BatchedCommand {
  return {
    name: 'mget',
    key: reads[0]?.key ?? '',
    fill: (writer) => {
      writer.add('mget')
      for (const { key } of reads) writer.add(key)
    },
    replied: (reply) => {
      const values = readArray<Buffer | null>(reply, reads.length)
      for (let index = 0; index < reads.length; index++) deliver(reads[index] as GetOperation, values[index] ?? null, sizes)
    },
    failed: (error) => { for (const read of reads) read.reject(error) }
  }
}

/** Packs one read as a GET. */
export function packRead (read: GetOperation, sizes: LargeValueSizes): BatchedCommand {
  return packSingle('get', read, [], (value) => deliver(read, value, sizes))
}

/** Packs the read of a string's first bytes; '' is a key that does not exist. */
export function packHead (read: GetOperation, bytes: number): BatchedCommand {
  return packSingle('getrange', read, [0, bytes - 1], (value) => read.resolve(value === null || value.length === 0 ? null : value))
}

function packSingle (name: string, read: GetOperation, args: readonly number[], resolve: (value: Buffer | null) => void): BatchedCommand {
  return {
    name,
    key: read.key,
    fill: (writer) => {
      writer.add(name)
      writer.add(read.key)
      for (const arg of args) writer.addNumber(arg)
    },
    replied: (reply) => resolve(reply as Buffer | null),
    failed: (error) => {
      // MGET replies nil for a key of another type; GET and GETRANGE reply WRONGTYPE. All must give null.
      if (error instanceof RedisReplyError && error.message.includes('WRONGTYPE')) resolve(null)
      else read.reject(error)
    }
  }
}

function deliver (read: GetOperation, value: Buffer | null, sizes: LargeValueSizes): void {
  if (value !== null && value.length > largeBytes) sizes.set(read.key, value.length)
  else if (!sizes.isEmpty) sizes.delete(read.key)
  read.resolve(value)
}

/** Packs the operations of one script: as many per call as its time budget allows; one per call in a Cluster. */
export function packScripts<Value> (script: BatchScript<Value>, operations: readonly ScriptOperation<Value>[], isCluster: boolean): BatchedCommand[] {
  const operationsPerCall = isCluster ? 1 : script.operationsPerCall
  if (operations.length <= operationsPerCall) return [packCall(script, operations)]
  const batchedCommands: BatchedCommand[] = []
  for (let start = 0; start < operations.length; start += operationsPerCall) batchedCommands.push(packCall(script, operations.slice(start, start + operationsPerCall)))
  return batchedCommands
}

function packCall<Value> (script: BatchScript<Value>, operations: readonly ScriptOperation<Value>[]): BatchedCommand {
  const batched: BatchedCommand = {
    name: 'evalsha',
    label: script.name,
    key: operations[0]?.keys[0] ?? '',
    fill: (writer) => script.addCall(writer, 'evalsha', script.sha1, operations),
    fillWithText: (writer) => script.addCall(writer, 'eval', script.lua, operations),
    replied: (reply) => {
      const error = script.settle(reply, operations)
      if (error !== undefined) batched.serverError = error
    },
    failed: (error) => { for (const operation of operations) operation.reject(error) }
  }
  return batched
}

function readArray<Element> (reply: unknown, length: number): Element[] {
  if (Array.isArray(reply) && reply.length === length) return reply
  throw new RedisReplyError('unexpected reply shape')
}

/** Packs any command; its reply is text. */
export function packCommand (name: string, args: Argument[], pending: PendingReply<unknown>): BatchedCommand {
  const command = new BatchCommand(name, args, { replyEncoding: 'utf8' })
  // ioredis's reply transformers apply to the command's promise only.
  return { name, command, replied: () => command.promise.then((reply) => pending.resolve(reply), (error) => pending.reject(error)), failed: (error) => pending.reject(error) }
}
