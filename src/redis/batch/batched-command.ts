import { Command } from 'ioredis'
import type { LRUCache } from 'lru-cache'
import { RedisReplyError } from '../../shared/errors.ts'
import { PendingReply } from './pending-reply.ts'
import { encodeScriptCall } from './script-call.ts'
import type { ScriptArgs } from './script-call.ts'
import { toPublicError } from '../health/error-class.ts'
import { EncodedCommand, encodeCommand } from './resp-encoder.ts'
import type { Argument } from './resp-encoder.ts'
import { textOf } from './reply-text.ts'
import type { Script } from './script.ts'

/** One key that is read, for all who want it. */
export class GetOperation extends PendingReply<Buffer | null> {
  readonly key: string

  constructor (key: string) {
    super()
    this.key = key
  }
}

/** One ask of a script: its own keys and arguments. */
export class ScriptOperation<Value = unknown> extends PendingReply<Value> implements ScriptArgs {
  readonly keys: ScriptArgs['keys']
  /** they leave at the end of the tick: until then others may take their place */
  args: ScriptArgs['args']

  constructor (keys: ScriptArgs['keys'], args: ScriptArgs['args']) {
    super()
    this.keys = keys
    this.args = args
  }
}

/** One Redis command that carries the asks of many, and hands each its own answer. */
export interface BatchedCommand {
  command: Command
  /** the same again with the script's text, for a server that has lost it: nothing ran */
  withScriptText?: (() => Command) | undefined
  answered: (reply: unknown) => void
  failed: (error: Error) => void
  /** told when the answer is there, or will never be, though nobody waits for it any more */
  landed?: () => void
  /** what the server said to one of its asks in an answer to all: the last such error */
  serverError?: Error
}

/** Values above this ride alone: small answers shall not wait behind them. */
export const largeBytes = 32_768
const keysPerCall = 128

/** Packs reads: many keys a command, except in a Cluster, where a command holds one slot. */
export function packReads (reads: ReadonlyMap<string, GetOperation>, isCluster: boolean, sizes: LRUCache<string, number>): BatchedCommand[] {
  const all = [...reads.values()]
  if (isCluster) return all.map((read) => packRead(read, sizes))
  const batchedCommands: BatchedCommand[] = []
  for (let start = 0; start < all.length; start += keysPerCall) batchedCommands.push(packMany(all.slice(start, start + keysPerCall), sizes))
  return batchedCommands
}

function packMany (reads: readonly GetOperation[], sizes: LRUCache<string, number>): BatchedCommand {
  const bytes = encodeCommand((packet) => {
    packet.add('mget')
    for (const { key } of reads) packet.add(key)
  })
  return {
    command: new EncodedCommand('mget', reads[0]?.key ?? '', bytes),
    answered: (reply) => {
      const values = readArray<Buffer | null>(reply, reads.length)
      for (let index = 0; index < reads.length; index++) deliver(reads[index] as GetOperation, values[index] ?? null, sizes)
    },
    failed: (error) => { for (const read of reads) read.reject(error) }
  }
}

/** Packs one read by itself. */
export function packRead (read: GetOperation, sizes: LRUCache<string, number>): BatchedCommand {
  const bytes = encodeCommand((packet) => {
    packet.add('get')
    packet.add(read.key)
  })
  return {
    command: new EncodedCommand('get', read.key, bytes),
    answered: (reply) => deliver(read, reply as Buffer | null, sizes),
    failed: (error) => {
      // MGET says nil of a key of another type; GET alone shall say the same.
      if (error instanceof RedisReplyError && error.message.includes('WRONGTYPE')) deliver(read, null, sizes)
      else read.reject(error)
    }
  }
}

function deliver (read: GetOperation, value: Buffer | null, sizes: LRUCache<string, number>): void {
  if (value !== null && value.length > largeBytes) sizes.set(read.key, value.length)
  else if (sizes.size > 0) sizes.delete(read.key)
  read.resolve(value)
}

/** Packs the asks of one script: as many a call as its budget allows; in a Cluster one a call. */
export function packScripts<Value> (script: Script<Value>, operations: readonly ScriptOperation<Value>[], isCluster: boolean): BatchedCommand[] {
  const asksPerCall = isCluster ? 1 : script.operationsPerCall
  if (operations.length <= asksPerCall) return [packCall(script, operations)]
  const batchedCommands: BatchedCommand[] = []
  for (let start = 0; start < operations.length; start += asksPerCall) batchedCommands.push(packCall(script, operations.slice(start, start + asksPerCall)))
  return batchedCommands
}

function packCall<Value> (script: Script<Value>, operations: readonly ScriptOperation<Value>[]): BatchedCommand {
  const batched: BatchedCommand = {
    command: encodeScriptCall('evalsha', script.sha1, operations),
    withScriptText: () => encodeScriptCall('eval', script.lua, operations),
    answered: (reply) => {
      const answers = readArray<unknown>(reply, operations.length)
      for (let index = 0; index < operations.length; index++) {
        const operation = operations[index] as ScriptOperation<Value>
        const answer = answers[index]
        if (answer instanceof Error) operation.reject(toPublicError(batched.serverError = answer))
        else deliverReply(script, operation, textOf(answer))
      }
    },
    failed: (error) => { for (const operation of operations) operation.reject(error) }
  }
  return batched
}

function deliverReply<Value> (script: Script<Value>, operation: ScriptOperation<Value>, reply: unknown): void {
  let value: Value
  try {
    value = script.read(reply)
  } catch (error) {
    return operation.reject(error as Error)
  }
  operation.resolve(value)
}

function readArray<Element> (reply: unknown, length: number): Element[] {
  if (Array.isArray(reply) && reply.length === length) return reply
  throw new RedisReplyError('an answer of another shape')
}

/** Packs a command of the caller's own, whose reply is text. */
export function packCommand (name: string, args: Argument[], answer: PendingReply<unknown>): BatchedCommand {
  const command = new Command(name, args, { replyEncoding: 'utf8' })
  // The promise of the command knows what ioredis makes of such a reply.
  return { command, answered: () => command.promise.then((reply) => answer.resolve(reply), (error) => answer.reject(error)), failed: (error) => answer.reject(error) }
}
