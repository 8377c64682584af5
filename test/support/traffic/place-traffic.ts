import type { RedisOptions } from '../../../src/redis/options.ts'
import { Keys } from '../../../src/redis/keys.ts'
import { startCluster } from '../cluster.ts'
import type { Cluster } from '../cluster.ts'
import type { Owner } from '../cleanup-scope.ts'
import { startProxy } from '../proxy.ts'
import { startRedisProcess } from '../redis-process.ts'
import { startSentinel } from '../sentinel.ts'
import { startTls } from '../tls.ts'
import { topic } from './app.ts'
import { regularPage } from './pages.ts'
import { regular } from './sessions.ts'
import type { Traffic } from './traffic.ts'

/** A kind of Redis, and a fault that loses no data. */
export interface Place {
  redis: RedisOptions
  fault: (traffic: Traffic) => Promise<void>
}

const cuts = 3
const meanwhile = 50
/** On a busy machine a server can be silent for a while: a failover then would lose confirmed writes. */
const silenceMs = 10_000

/** One server without a fault. */
export async function plain (owner: Owner): Promise<Place> {
  const { url } = await startRedisProcess(owner)
  return { redis: { url }, fault: (traffic) => traffic.responses(meanwhile) }
}

/** With its own authority and client certificate; every connection is closed repeatedly, in any state. */
export async function overTls (owner: Owner): Promise<Place> {
  const { host, port, ca, client: { cert, key } } = await startTls(owner, { authClients: true })
  const proxy = await startProxy(owner, { host, port })
  return {
    redis: { url: `rediss://${proxy.host}:${proxy.port}`, connection: { tls: { ca, cert, key } } },
    fault: async (traffic) => {
      for (let cut = 0; cut < cuts; cut++) {
        const noticed = traffic.noticed()
        await proxy.fault('reset')
        await noticed
        await proxy.heal()
        await traffic.responses(meanwhile)
      }
    }
  }
}

/** A master, a replica and three Sentinels, with a failover. */
export async function behindSentinels (owner: Owner): Promise<Place> {
  const group = await startSentinel(owner, { downAfterMs: silenceMs })
  const url = `redis+sentinel://${group.sentinels.map(({ host, port }) => `${host}:${port}`).join()}/${group.name}`
  return { redis: { url }, fault: async () => { await group.handOver() } }
}

/** Three masters with a replica each: slots of every feature migrate to another master, and then a master fails over to its replica. */
export async function inCluster (owner: Owner): Promise<Place> {
  const cluster = await startCluster(owner, { replicas: 1, args: ['--cluster-node-timeout', String(silenceMs), '--cluster-replica-no-failover', 'yes'] })
  const keys = new Keys()
  const moved = [keys.userSession(regular), keys.cacheSequence(), keys.cacheTag(`page:${regularPage}`), keys.topicLog(topic)]
  return {
    redis: { url: cluster.url },
    fault: async (traffic) => {
      for (const key of moved) await move(cluster, key, traffic)
      await cluster.handOver(await cluster.ownerOf(await cluster.slotOf(keys.cacheSequence())))
    }
  }
}

/** Holds a slot between two masters for a while. */
async function move (cluster: Cluster, key: string, traffic: Traffic): Promise<void> {
  const slot = await cluster.slotOf(key)
  const from = await cluster.ownerOf(slot)
  const migration = await cluster.openMigration(slot, cluster.masters.find((master) => master !== from) ?? from)
  await traffic.responses(meanwhile)
  await migration.moveKeys()
  await traffic.responses(meanwhile)
  await migration.close()
}
