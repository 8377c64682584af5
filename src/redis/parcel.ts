import { Command } from 'ioredis'
import type { LRUCache } from 'lru-cache'
import { RedisReplyError } from '../errors.ts'
import { Answer } from './answer.ts'
import { writeCall } from './call.ts'
import type { Given } from './call.ts'
import { failureOf } from './outage.ts'
import { Packet, writePacket } from './packet.ts'
import type { Argument } from './packet.ts'
import { textOf } from './reply.ts'
import type { Script } from './script.ts'

/** One key that is read, for all who want it. */
export class Read extends Answer<Buffer | null> {
  readonly key: string

  constructor (key: string) {
    super()
    this.key = key
  }
}

/** One ask of a script: its own keys and arguments. */
export class Ask<Value = unknown> extends Answer<Value> implements Given {
  readonly keys: Given['keys']
  /** they leave at the end of the tick: until then others may take their place */
  args: Given['args']

  constructor (keys: Given['keys'], args: Given['args']) {
    super()
    this.keys = keys
    this.args = args
  }
}

/** One Redis command that carries the asks of many, and hands each its own answer. */
export interface Parcel {
  command: Command
  /** the same again with the script's text, for a server that has lost it: nothing ran */
  whole?: (() => Command) | undefined
  answered: (reply: unknown) => void
  failed: (error: Error) => void
  /** told when the answer is there, or will never be, though nobody waits for it any more */
  landed?: () => void
  /** what the server said to one of its asks in an answer to all: the last such error */
  complaint?: Error
}

/** Values above this ride alone: small answers shall not wait behind them. */
export const largeBytes = 32_768
const keysPerCall = 128

/** Packs reads: many keys a command, except in a Cluster, where a command holds one slot. */
export function packReads (reads: ReadonlyMap<string, Read>, isCluster: boolean, sizes: LRUCache<string, number>): Parcel[] {
  const all = [...reads.values()]
  if (isCluster) return all.map((read) => packRead(read, sizes))
  const parcels: Parcel[] = []
  for (let start = 0; start < all.length; start += keysPerCall) parcels.push(packMany(all.slice(start, start + keysPerCall), sizes))
  return parcels
}

function packMany (reads: readonly Read[], sizes: LRUCache<string, number>): Parcel {
  const bytes = writePacket((packet) => {
    packet.add('mget')
    for (const { key } of reads) packet.add(key)
  })
  return {
    command: new Packet('mget', reads[0]?.key ?? '', bytes),
    answered: (reply) => {
      const values = readArray<Buffer | null>(reply, reads.length)
      for (let index = 0; index < reads.length; index++) hand(reads[index] as Read, values[index] ?? null, sizes)
    },
    failed: (error) => { for (const read of reads) read.reject(error) }
  }
}

/** Packs one read by itself. */
export function packRead (read: Read, sizes: LRUCache<string, number>): Parcel {
  const bytes = writePacket((packet) => {
    packet.add('get')
    packet.add(read.key)
  })
  return {
    command: new Packet('get', read.key, bytes),
    answered: (reply) => hand(read, reply as Buffer | null, sizes),
    failed: (error) => {
      // MGET says nil of a key of another type; GET alone shall say the same.
      if (error instanceof RedisReplyError && error.message.includes('WRONGTYPE')) hand(read, null, sizes)
      else read.reject(error)
    }
  }
}

function hand (read: Read, value: Buffer | null, sizes: LRUCache<string, number>): void {
  if (value !== null && value.length > largeBytes) sizes.set(read.key, value.length)
  else if (sizes.size > 0) sizes.delete(read.key)
  read.resolve(value)
}

/** Packs the asks of one script: as many a call as its budget allows; in a Cluster one a call. */
export function packAsks<Value> (script: Script<Value>, asks: readonly Ask<Value>[], isCluster: boolean): Parcel[] {
  const asksPerCall = isCluster ? 1 : script.asksPerCall
  if (asks.length <= asksPerCall) return [packCall(script, asks)]
  const parcels: Parcel[] = []
  for (let start = 0; start < asks.length; start += asksPerCall) parcels.push(packCall(script, asks.slice(start, start + asksPerCall)))
  return parcels
}

function packCall<Value> (script: Script<Value>, asks: readonly Ask<Value>[]): Parcel {
  const parcel: Parcel = {
    command: writeCall('evalsha', script.sha1, asks),
    whole: () => writeCall('eval', script.lua, asks),
    answered: (reply) => {
      const answers = readArray<unknown>(reply, asks.length)
      for (let index = 0; index < asks.length; index++) {
        const ask = asks[index] as Ask<Value>
        const answer = answers[index]
        if (answer instanceof Error) ask.reject(failureOf(parcel.complaint = answer))
        else handAnswer(script, ask, textOf(answer))
      }
    },
    failed: (error) => { for (const ask of asks) ask.reject(error) }
  }
  return parcel
}

function handAnswer<Value> (script: Script<Value>, ask: Ask<Value>, reply: unknown): void {
  let value: Value
  try {
    value = script.read(reply)
  } catch (error) {
    return ask.reject(error as Error)
  }
  ask.resolve(value)
}

function readArray<Element> (reply: unknown, length: number): Element[] {
  if (Array.isArray(reply) && reply.length === length) return reply
  throw new RedisReplyError('an answer of another shape')
}

/** Packs a command of the caller's own, whose reply is text. */
export function packCommand (name: string, args: Argument[], answer: Answer<unknown>): Parcel {
  const command = new Command(name, args, { replyEncoding: 'utf8' })
  // The promise of the command knows what ioredis makes of such a reply.
  return { command, answered: () => command.promise.then((reply) => answer.resolve(reply), (error) => answer.reject(error)), failed: (error) => answer.reject(error) }
}
