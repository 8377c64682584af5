import Fastify from 'fastify'
import prism from '../../plugins/index.ts'
import type { CreatePeer } from './peer.ts'

const create: CreatePeer = async (url, load) => {
  const app = Fastify()
  await app.register(prism, { redis: { url }, session: false, rateLimit: false, cache: {}, events: false })
  await app.ready()
  const { cache } = app
  return {
    get: (key) => cache.wrap('item', key, { ttl: '5m' }, () => load(key)),
    getTagged: (key) => cache.wrap('tagged', key, { ttl: '5m', tags: [`item:${key}`] }, () => load(key)),
    invalidate: (key) => cache.purge(`item:${key}`)
  }
}

export default create
