import t from 'tap'
import { Keys } from '../../src/redis/keys.ts'
import { tableOf } from '../support/readme.ts'

const keys = new Keys()

/** Each method of the key builder with the arguments that the table names in angle brackets. */
const samples: Record<string, () => string> = {
  userSession: () => keys.userSession('user'),
  anonymousSession: () => keys.anonymousSession('random'),
  cacheEntry: () => keys.cacheEntry('method', 'route')('hash'),
  cacheWrap: () => keys.cacheWrap('name', 'hash'),
  cacheTag: () => keys.cacheTag('tag'),
  cacheEpoch: () => keys.cacheEpoch('run').replace(/[\da-f]{16}$/, 'server'),
  cacheSequence: () => keys.cacheSequence(),
  cacheLock: () => keys.cacheLock(keys.cacheEntry('method', 'route')('hash')),
  cacheFilled: () => keys.cacheFilled(),
  rateLimit: () => keys.rateLimit('endpoint')('kind', 'id'),
  rateLimitQuotas: () => keys.rateLimitQuotas(),
  websocket: () => keys.websocket('connection'),
  metricsLease: () => keys.metricsLease(),
  apps: () => keys.apps(),
  metricsProcesses: () => keys.metricsProcesses(),
  metricsSample: () => keys.metricsSample(),
  topicChannel: () => keys.topicChannel('topic'),
  topicLog: () => keys.topicLog('topic')
}

t.test('ARCHITECTURE.md lists each Redis key and channel, and no other', async (t) => {
  const methods = Object.getOwnPropertyNames(Keys.prototype).filter((name) => !['constructor', 'namespaceOf'].includes(name))
  const listed = tableOf('ARCHITECTURE.md', 'key').map(([key = '']) => key.replaceAll(/[<>]/g, ''))

  t.same(Object.keys(samples).sort(), methods.sort(), 'each method of the key builder has a sample')
  t.same(listed.sort(), Object.values(samples).map((sample) => sample()).sort())
})
