import { Redis } from 'ioredis'
import { aclUser } from './acl.ts'
import type { Owner } from './cleanup-scope.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'

const OPERATOR = { name: 'operator', password: 'operator' }

/** A Redis server under test, with the proxy through which all but the tester reach it. */
export interface Rig {
  /** What the tested code connects to: the proxy. */
  url: string
  proxy: Proxy
  redis: RedisProcess
  /** The tester's own connection, past the proxy and past every limit; it waits for a server that is away. */
  control: Redis
}

/** Starts a server and a proxy in front of it; both end with the owner. Faults need one. */
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
  control.on('error', () => {}) // it tries again until the server is back
  owner.after(() => control.disconnect())
  await control.ping()
  return { url: proxy.url, proxy, redis, control }
}
