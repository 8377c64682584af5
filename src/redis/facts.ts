import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'

/** What the server says of itself. */
export interface Server {
  /** '' when it may not be asked (an ACL without INFO) */
  version: string
  isCluster: boolean
  /** changes with every start of the server's process, and with every other server; with a Cluster, that of each master */
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
  const fields = await readInfo(client)
  const field = (name: string) => fields.get(name) ?? ''
  return {
    version: field('redis_version'),
    isCluster: field('cluster_enabled') === '1',
    runId: client instanceof Cluster ? await readRunIds(client) : field('run_id'),
    isLoading: field('loading') === '1',
    maxmemoryBytes: Number(field('maxmemory')),
    maxmemoryPolicy: field('maxmemory_policy')
  }
}

async function readInfo (client: Redis | Cluster): Promise<ReadonlyMap<string, string>> {
  const info = await client.info().catch((error: Error) => {
    if (/^(NOPERM|ERR unknown command)/.test(error.message)) return ''
    throw error
  })
  return new Map(info.split('\r\n').map((line) => {
    const [name = '', ...value] = line.split(':')
    return [name, value.join(':')]
  }))
}

/** A master that does not answer is named by its address: once it does, that is another. */
async function readRunIds (cluster: Cluster): Promise<string> {
  const ids = cluster.nodes('master').map((node) => {
    const { host, port } = node.options
    return readInfo(node).then((fields) => fields.get('run_id') ?? '', () => `${host}:${port}`)
  })
  return (await Promise.all(ids)).sort().join()
}
