import { startCluster } from './cluster.ts'
import type { Cluster, ClusterOptions } from './cluster.ts'
import type { ClusterNode } from './cluster-node.ts'
import type { NetworkFaultOptions } from './network-faults.ts'
import type { Owner } from './cleanup-scope.ts'
import { startProxy } from './proxy.ts'
import type { Proxy } from './proxy.ts'
import { until } from './until.ts'

/** A Cluster behind proxies: each node announces the address of its proxy. */
export interface ProxiedCluster {
  cluster: Cluster
  proxies: ReadonlyMap<ClusterNode, Proxy>
  /** seed nodes: the proxies */
  url: string
  /** Loses the reply to one of these commands and resets the connection, once, at whichever master receives it; then calls back. */
  loseReply (after: readonly string[], lost: () => void): Promise<void>
  heal (): Promise<void>
}

/** Starts a Cluster behind proxies; done when every node names the proxies of all. */
export async function startProxiedCluster (owner: Owner, options: ClusterOptions = {}): Promise<ProxiedCluster> {
  const cluster = await startCluster(owner, options)
  const proxies = new Map(await Promise.all(cluster.nodes.map(async (node) => [node, await startProxy(owner, node.server)] as const)))
  const ports = [...proxies.values()].map(({ port }) => port)
  for (const [{ control }, { port }] of proxies) await control.config('SET', 'cluster-announce-port', String(port))
  await until(async () => {
    const seen = await Promise.all(cluster.nodes.map(({ control }) => control.cluster('SLOTS')))
    return seen.every((ranges) => ranges.every(([,, ...nodes]) => nodes.every(([, port]) => ports.includes(port))))
  }, { what: 'every node names the proxies' })
  const all = [...proxies.values()]
  return {
    cluster,
    proxies,
    url: all.map(({ url }) => url).join(','),
    loseReply: async (after, lost) => { await loseReply(all, after, lost) },
    heal: async () => { await Promise.all(all.map((proxy) => proxy.heal())) }
  }
}

async function loseReply (proxies: readonly Proxy[], after: readonly string[], lost: () => void): Promise<void> {
  const options: NetworkFaultOptions['replyLostThenReset'] = {
    after,
    lost: () => {
      lost()
      for (const proxy of proxies) proxy.heal().catch(() => {}) // a listening proxy has nothing else to heal
    }
  }
  await Promise.all(proxies.map((proxy) => proxy.fault('replyLostThenReset', options)))
}
