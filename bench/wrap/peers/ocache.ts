import { Redis } from 'ioredis'
import { defineCachedFunction } from 'ocache'
import type { CreatePeer } from '../peer.ts'

const create: CreatePeer = async (url, load) => {
  const redis = new Redis(url, { enableAutoPipelining: true })
  const storage = {
    get: async (key) => JSON.parse(await redis.get(key)),
    set: async (key, value, options) => {
      if (value === null || value === undefined) await redis.del(key)
      else await redis.set(key, JSON.stringify(value), 'EX', options?.ttl ?? 300)
    }
  }
  const cached = defineCachedFunction((key) => load(key), { storage, name: 'item', maxAge: 300, swr: false, getKey: (key) => key })
  return { get: (key) => cached(key), invalidate: (key) => cached.invalidate(key) }
}

export default create
