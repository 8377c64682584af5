import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'

/** What the server says of itself. */
export interface Server {
  /** '' when it may not be asked (an ACL without INFO) */
  version: string
  isCluster: boolean
  /** changes with every start of the server's process, and with every other server; with a Cluster, its masters' addresses */
  runId: string
  isLoading: boolean
  /** bytes; 0 when no limit is set */
  maxmemoryBytes: number
  /** `noeviction`, `allkeys-lru`, … */
  maxmemoryPolicy: string
}

/**
 * Reads what the server says of itself; with a Cluster, one of its nodes.
 *
 * @throws {Error} ioredis's, when the connection fails
 */
export async function readServer (client: Redis | Cluster): Promise<Server> {
  const info = await client.info().catch((error: Error) => {
    if (/^(NOPERM|ERR unknown command)/.test(error.message)) return ''
    throw error
  })
  const fields = new Map(info.split('\r\n').map((line) => {
    const [name = '', ...value] = line.split(':')
    return [name, value.join(':')]
  }))
  const field = (name: string) => fields.get(name) ?? ''
  return {
    version: field('redis_version'),
    isCluster: field('cluster_enabled') === '1',
    runId: client instanceof Cluster ? masterAddresses(client) : field('run_id'),
    isLoading: field('loading') === '1',
    maxmemoryBytes: Number(field('maxmemory')),
    maxmemoryPolicy: field('maxmemory_policy')
  }
}

function masterAddresses (cluster: Cluster): string {
  return cluster.nodes('master').map(({ options }) => `${options.host}:${options.port}`).sort().join()
}
