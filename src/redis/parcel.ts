import { Command } from 'ioredis'
import type { LRUCache } from 'lru-cache'
import { RedisReplyError } from '../errors.ts'
import { failureOf } from './outage.ts'
import type { Script } from './script.ts'

/** Whoever waits for one answer; called exactly once, by one of the two. */
export interface Waiter<Answer> {
  resolve: (answer: Answer) => void
  reject: (error: Error) => void
}

/** One ask of a script: its own keys and arguments. */
export interface Ask {
  keys: readonly string[]
  args: readonly (string | number | Buffer)[]
  waiter: Waiter<never>
}

/** One Redis command that carries the asks of many, and hands each its own answer. */
export interface Parcel {
  command: Command
  /** the same again with the script's text, for a server that has lost it: nothing ran */
  whole?: () => Command
  answered: (reply: unknown) => void
  failed: (error: Error) => void
  /** what the server said to one of its asks in an answer to all: the last such error */
  complaint?: Error
}

/** Values above this ride alone: small answers shall not wait behind them. */
export const largeBytes = 32_768
const keysPerCall = 128

/** Packs reads: many keys a command, except in a Cluster, where a command holds one slot. */
export function packReads (reads: ReadonlyMap<string, readonly Waiter<Buffer | null>[]>, isCluster: boolean, sizes: LRUCache<string, number>): Parcel[] {
  const keys = [...reads.keys()]
  if (isCluster) return keys.map((key) => packRead(key, reads.get(key) ?? [], sizes))
  const parcels: Parcel[] = []
  for (let start = 0; start < keys.length; start += keysPerCall) parcels.push(packMany(keys.slice(start, start + keysPerCall), reads, sizes))
  return parcels
}

function packMany (keys: string[], reads: ReadonlyMap<string, readonly Waiter<Buffer | null>[]>, sizes: LRUCache<string, number>): Parcel {
  return {
    command: new Command('mget', keys, { replyEncoding: null }),
    answered: (reply) => {
      const values = readArray<Buffer | null>(reply, keys.length)
      keys.forEach((key, index) => hand(key, values[index] ?? null, reads.get(key) ?? [], sizes))
    },
    failed: (error) => keys.forEach((key) => reads.get(key)?.forEach((waiter) => waiter.reject(error)))
  }
}

/** Packs one read by itself. */
export function packRead (key: string, waiters: readonly Waiter<Buffer | null>[], sizes: LRUCache<string, number>): Parcel {
  return {
    command: new Command('get', [key], { replyEncoding: null }),
    answered: (reply) => hand(key, reply as Buffer | null, waiters, sizes),
    failed: (error) => {
      // MGET says nil of a key of another type; GET alone shall say the same.
      if (error instanceof RedisReplyError && error.message.includes('WRONGTYPE')) hand(key, null, waiters, sizes)
      else waiters.forEach((waiter) => waiter.reject(error))
    }
  }
}

function hand (key: string, value: Buffer | null, waiters: readonly Waiter<Buffer | null>[], sizes: LRUCache<string, number>): void {
  if (value !== null && value.length > largeBytes) sizes.set(key, value.length)
  else if (sizes.size > 0) sizes.delete(key)
  for (const waiter of waiters) waiter.resolve(value)
}

/** Packs the asks of one script: as many a call as its budget allows; in a Cluster one a call. */
export function packAsks<Answer> (script: Script<Answer>, asks: readonly Ask[], isCluster: boolean): Parcel[] {
  const asksPerCall = isCluster ? 1 : script.asksPerCall
  const parcels: Parcel[] = []
  for (let start = 0; start < asks.length; start += asksPerCall) parcels.push(packCall(script, asks.slice(start, start + asksPerCall)))
  return parcels
}

function packCall<Answer> (script: Script<Answer>, asks: readonly Ask[]): Parcel {
  const keys: string[] = []
  const args: (string | number | Buffer)[] = []
  for (const ask of asks) {
    keys.push(...ask.keys)
    args.push(ask.keys.length, ask.args.length, ...ask.args)
  }
  const call = (name: string, text: string) => new Command(name, [text, keys.length, ...keys, asks.length, ...args], { replyEncoding: 'utf8' })
  const parcel: Parcel = {
    command: call('evalsha', script.sha1),
    whole: () => call('eval', script.lua),
    answered: (reply) => {
      const answers = readArray<unknown>(reply, asks.length)
      asks.forEach((ask, index) => {
        const answer = answers[index]
        if (answer instanceof Error) ask.waiter.reject(failureOf(parcel.complaint = answer))
        else handAnswer(script, ask, answer)
      })
    },
    failed: (error) => asks.forEach((ask) => ask.waiter.reject(error))
  }
  return parcel
}

function handAnswer<Answer> (script: Script<Answer>, ask: Ask, reply: unknown): void {
  try {
    (ask.waiter as Waiter<Answer>).resolve(script.read(reply))
  } catch (error) {
    ask.waiter.reject(error as Error)
  }
}

function readArray<Element> (reply: unknown, length: number): Element[] {
  if (Array.isArray(reply) && reply.length === length) return reply
  throw new RedisReplyError('an answer of another shape')
}

/** Packs a command of the caller's own, whose reply is text. */
export function packCommand (name: string, args: (string | number | Buffer)[], waiter: Waiter<unknown>): Parcel {
  return { command: new Command(name, args, { replyEncoding: 'utf8' }), answered: waiter.resolve, failed: waiter.reject }
}
