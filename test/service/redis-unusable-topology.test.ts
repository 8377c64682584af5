import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { aclUser } from '../support/acl.ts'
import { startCluster } from '../support/cluster.ts'
import { freePort } from '../support/ports.ts'
import { startRedis } from '../support/redis.ts'
import { startSentinel, type SentinelGroup } from '../support/sentinel.ts'
import { password, testReports, type Place, type Setup } from '../support/unusable-redis.ts'

const down = 'PrismRedisDown'
const clusterNode = async (t: Test) => await startRedis(t, { args: ['--cluster-enabled', 'yes'] })

/** A Cluster with a user, and the address of our user. */
async function clusterWith (t: Test, user: { password: string, rules: string[] }): Promise<Place> {
  const { url } = await startCluster(t, { args: aclUser({ name: 'app', ...user }) })
  return { url: url.replaceAll('redis://', `redis://app:${password}@`) }
}

function addressOf ({ sentinels }: SentinelGroup, name = 'main'): string {
  return `redis+sentinel://${sentinels.map(({ host, port }) => `${host}:${port}`).join(',')}/${name}`
}

const setups: readonly Setup[] = [
  { does: 'is a node of a Cluster without slots', start: async (t) => ({ url: (await clusterNode(t)).url }), code: 'cluster_down', alert: down, says: /CLUSTERDOWN/, doctorSays: /slots are assigned to no node/ },
  { does: 'is a Cluster without slots', start: async (t) => ({ url: `${(await clusterNode(t)).url},${(await clusterNode(t)).url}` }), code: 'cluster_down', alert: down, says: /CLUSTERDOWN/, doctorSays: /slots are assigned to no node/ },
  { does: 'is no Cluster, though the address lists several servers', start: async (t) => ({ url: `${(await startRedis(t)).url},${(await startRedis(t)).url}` }), code: 'not_a_cluster', alert: down, says: /not part of one/ },
  { does: 'is a Cluster of which no node listens', start: async () => ({ url: `redis://127.0.0.1:${await freePort()},redis://127.0.0.1:${await freePort()}` }), code: 'connection_refused', alert: down, says: /ECONNREFUSED/ },
  {
    does: 'is a Cluster of which one master is down',
    start: async (t): Promise<Place> => {
      const cluster = await startCluster(t)
      return { url: cluster.url, breakLater: () => cluster.masters[1]?.server.kill() }
    },
    code: 'connection_refused',
    alert: down,
    says: /ECONNREFUSED/,
    doctorSays: /^The node 127\.0\.0\.1:\d+ is down/
  },
  { does: 'is a Cluster that rejects the password', start: async (t) => await clusterWith(t, { password: 'right', rules: ['~*', '&*', '+@all'] }), code: 'wrong_password', alert: down, says: /WRONGPASS/ },
  { does: 'is a Cluster that denies its user CLUSTER', start: async (t) => await clusterWith(t, { password, rules: ['~*', '&*', '+@all', '-cluster'] }), code: 'permission_denied', alert: down, says: /the command cluster\|\w+ \(NOPERM\)/ },
  { does: 'is a Cluster that denies its user PUBLISH', start: async (t) => await clusterWith(t, { password, rules: ['~*', '&*', '+@all', '-publish'] }), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: /the command publish/ },
  {
    does: 'is the master of Sentinels and requires a password that is missing',
    start: async (t) => {
      const group = await startSentinel(t, { replicas: 0 })
      const control = new Redis(group.servers[0]?.url ?? '')
      await control.config('SET', 'requirepass', 'right')
      control.disconnect()
      return { url: addressOf(group) }
    },
    code: 'password_missing',
    alert: down,
    says: /NOAUTH/
  },
  { does: 'is behind Sentinels that do not listen', start: async () => ({ url: `redis+sentinel://127.0.0.1:${await freePort()}/main` }), code: 'no_sentinel', alert: down, says: /No Sentinel/ },
  { does: 'is behind Sentinels that do not know the master', start: async (t) => ({ url: addressOf(await startSentinel(t), 'other') }), code: 'no_sentinel', alert: down, says: /No Sentinel/ },
  { does: 'is given as a Sentinel', start: async (t) => ({ url: `redis+sentinel://127.0.0.1:${(await startRedis(t)).port}/main` }), code: 'no_sentinel', alert: down, says: /No Sentinel/ },
  { does: 'is a Sentinel', start: async (t) => ({ url: `redis://127.0.0.1:${(await startSentinel(t)).sentinels[0]?.port}` }), code: 'sentinel_address', alert: down, says: /is a Sentinel/ },
  {
    does: 'is a master that is down and has no replica',
    start: async (t) => {
      const group = await startSentinel(t, { replicas: 0 })
      return { url: addressOf(group), breakLater: () => group.servers[0]?.kill() }
    },
    code: 'connection_refused',
    alert: down,
    says: /ECONNREFUSED/
  }
]

t.setTimeout(480_000)

testReports(setups)
