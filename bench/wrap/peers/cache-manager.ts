import KeyvRedis from '@keyv/redis'
import { createCache } from 'cache-manager'
import { Keyv } from 'keyv'
import type { CreatePeer } from '../peer.ts'

const create: CreatePeer = async (url, load) => {
  const cache = createCache({ stores: [new Keyv({ store: new KeyvRedis(url) })], ttl: 300_000 })
  return {
    get: (key) => cache.wrap(key, () => load(key)),
    invalidate: (key) => cache.del(key)
  }
}

export default create
