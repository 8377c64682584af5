import { BentoCache, bentostore } from 'bentocache'
import { redisDriver } from 'bentocache/drivers/redis'
import { Redis } from 'ioredis'
import type { CreatePeer } from '../peer.ts'

const create: CreatePeer = async (url, load) => {
  const connection = new Redis(url, { enableAutoPipelining: true })
  const bento = new BentoCache({ default: 'redis', stores: { redis: bentostore().useL2Layer(redisDriver({ connection })) } })
  return {
    get: (key) => bento.getOrSet({ key, ttl: '5m', factory: () => load(key) }),
    getTagged: (key) => bento.getOrSet({ key: `tagged:${key}`, ttl: '5m', tags: [`item:${key}`], factory: () => load(key) }),
    invalidate: (key) => bento.deleteByTag({ tags: [`item:${key}`] })
  }
}

export default create
