import KeyvRedis from '@keyv/redis'
import { Cacheable } from 'cacheable'
import type { CreatePeer } from '../peer.ts'

// It has a cache in the process before Redis.
const create: CreatePeer = async (url, load) => {
  const cache = new Cacheable({ secondary: new KeyvRedis(url), ttl: '5m' })
  return {
    get: (key) => cache.getOrSet(key, () => load(key)),
    invalidate: (key) => cache.delete(key)
  }
}

export default create
