import { createCache } from 'async-cache-dedupe'
import { Redis } from 'ioredis'
import type { CreatePeer } from '../peer.ts'

const create: CreatePeer = async (url, load) => {
  const client = new Redis(url, { enableAutoPipelining: true })
  const cache = createCache({ ttl: 300, storage: { type: 'redis', options: { client, invalidation: { referencesTTL: 300 } } } })
  cache.define('item', (key) => load(key))
  cache.define('tagged', { references: (_args, key) => [`item:${key}`] }, (key) => load(key))
  return {
    get: (key) => cache.item(key),
    getTagged: (key) => cache.tagged(key),
    invalidate: (key) => cache.invalidateAll(`item:${key}`)
  }
}

export default create
