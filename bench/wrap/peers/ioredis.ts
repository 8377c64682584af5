import { Redis } from 'ioredis'
import type { CreatePeer } from '../peer.ts'

// What an application writes itself: GET and JSON, SET after a miss, DEL after a change.
const create: CreatePeer = async (url, load) => {
  const redis = new Redis(url, { enableAutoPipelining: true })
  return {
    async get (key) {
      const stored = await redis.get(key)
      if (stored !== null) return JSON.parse(stored)
      const value = await load(key)
      await redis.set(key, JSON.stringify(value), 'EX', 300)
      return value
    },
    invalidate: (key) => redis.del(key)
  }
}

export default create
