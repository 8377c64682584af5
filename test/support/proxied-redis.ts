import { Redis } from 'ioredis'
import { aclUser } from './acl.ts'
import type { Owner } from './cleanup-scope.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'

const OPERATOR = { name: 'operator', password: 'operator' }

/** A Redis server under test, with the proxy that all but the test use. */
export interface Rig {
  /** the proxy, to which the tested code connects */
  url: string
  proxy: Proxy
  redis: RedisProcess
  /** The test's own connection, past the proxy and without limits; it waits during an outage. */
  control: Redis
}

/** Starts a server and a proxy in front of it for faults; both end with the owner. */
export async function startRig (owner: Owner, args: string[] = []): Promise<Rig> {
  const redis = await startRedisProcess(owner, { args: [...aclUser(OPERATOR), ...args] })
  const proxy = await startProxy(owner, redis)
  const control = new Redis(redis.port, redis.host, {
    username: OPERATOR.name,
    password: OPERATOR.password,
    enableReadyCheck: false,
    maxRetriesPerRequest: null,
    retryStrategy: () => 20,
    disconnectTimeout
  })
  control.on('error', () => {}) // it reconnects until the server is back
  owner.after(() => control.disconnect())
  await control.ping()
  return { url: proxy.url, proxy, redis, control }
}
