import type { Cluster, Redis } from 'ioredis'

/** What the server says of itself. */
export interface Server {
  version: string
  isCluster: boolean
  /** changes with every start of the server's process */
  runId: string
  /** bytes; 0 when no limit is set */
  maxmemoryBytes: number
  /** `noeviction`, `allkeys-lru`, … */
  maxmemoryPolicy: string
}

/** Reads what the server says of itself; with a Cluster, one of its nodes. */
export async function readServer (client: Redis | Cluster): Promise<Server> {
  const fields = new Map((await client.info()).split('\r\n').map((line) => {
    const [name = '', ...value] = line.split(':')
    return [name, value.join(':')]
  }))
  const field = (name: string) => fields.get(name) ?? ''
  return {
    version: field('redis_version'),
    isCluster: field('cluster_enabled') === '1',
    runId: field('run_id'),
    maxmemoryBytes: Number(field('maxmemory')),
    maxmemoryPolicy: field('maxmemory_policy')
  }
}
