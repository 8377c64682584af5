import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { median } from '../interleaved/statistics.ts'
import type { CachePeer, CreatePeer, Value } from './peer.ts'

// A process with one cache of function results: PEER names its module. It works when it receives an order.

/** Calls for a time: so many callers, one call after the other each, of so many keys. */
export interface CallOrder { readonly do: 'call', readonly ms: number, readonly callers: number, readonly keys: number, readonly isTagged: boolean }
/** Orders about the keys `<name>:0` to `<name>:<count - 1>`. */
export interface KeysOrder { readonly do: 'fill' | 'change' | 'check' | 'join', readonly name: string, readonly count: number }
/** What a `call` measured; `p50Ms` only for one caller. */
export interface Called { readonly operations: number, readonly cpuMicroseconds: number, readonly milliseconds: number, readonly p50Ms: number }

const { PEER = '', REDIS_URL = '' } = process.env
const spreadMs = 4
const slowLoadMs = 30
const source = new Redis(REDIS_URL, { keyPrefix: 'source:', enableAutoPipelining: true })
let loads = 0
let loadMs = () => 0

const { default: create } = await import(PEER) as { default: CreatePeer }
const peer: CachePeer = await create(REDIS_URL, load)
const getTagged = peer.getTagged ?? peer.get

/** A row of a database: its version is read at once, and returned later. */
async function load (key: string): Promise<Value> {
  loads += 1
  const version = Number(await source.get(key) ?? 1)
  const ms = loadMs()
  if (ms > 0) await sleep(ms)
  return { id: key, name: `Item ${key}`, version, text: 'x'.repeat(50) }
}

async function call ({ ms, callers, keys, isTagged }: CallOrder): Promise<Called> {
  const get = isTagged ? getTagged : peer.get
  const times: number[] = []
  const startedAt = performance.now()
  const startedCpu = process.cpuUsage()
  let operations = 0
  await Promise.all(Array.from({ length: callers }, async () => {
    for (let calledAt = performance.now(); calledAt < startedAt + ms; operations++) {
      await get(`cost:${operations * 7919 % keys}`)
      const now = performance.now()
      if (callers === 1) times.push(now - calledAt)
      calledAt = now
    }
  }))
  const { user, system } = process.cpuUsage(startedCpu)
  return { operations, cpuMicroseconds: user + system, milliseconds: performance.now() - startedAt, p50Ms: median(times) }
}

function keysOf ({ name, count }: KeysOrder): string[] {
  return Array.from({ length: count }, (_, index) => `${name}:${index}`)
}

const orders = {
  call,
  /** calls each key once, at times spread over some milliseconds, while `change` runs in another process */
  fill: async (order: KeysOrder) => {
    loadMs = () => Math.random() * spreadMs
    await Promise.all(keysOf(order).map(async (key) => {
      await sleep(Math.random() * spreadMs)
      await getTagged(key)
    }))
  },
  /** changes each row, and invalidates its key after that */
  change: async (order: KeysOrder) => {
    await Promise.all(keysOf(order).map(async (key) => {
      await sleep(Math.random() * spreadMs * 2)
      await source.set(key, 2, 'EX', 600)
      await peer.invalidate(key)
    }))
  },
  /** @returns how many values are older than the acknowledged invalidation */
  check: async (order: KeysOrder) => {
    const values = await Promise.all(keysOf(order).map((key) => getTagged(key)))
    return values.filter(({ version }) => version < 2).length
  },
  /** @returns how often a slow load ran for this many callers of one key */
  join: async ({ name, count }: KeysOrder) => {
    loadMs = () => slowLoadMs
    const before = loads
    await Promise.all(Array.from({ length: count }, () => getTagged(name)))
    return loads - before
  }
}

process.on('message', async (order: CallOrder | KeysOrder) => {
  const told = order.do === 'call' ? await orders.call(order) : await orders[order.do](order)
  process.send?.({ told })
})
process.on('disconnect', () => process.exit())
process.send?.({ told: 'ready' })
