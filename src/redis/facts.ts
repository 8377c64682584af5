import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import { RedisUnavailableError } from '../errors.ts'
import { within } from './deadline.ts'

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

/** Lines of INFO by their names. */
type Info = ReadonlyMap<string, string>

/**
 * Reads what the server says of itself; with a Cluster, what the masters say that answer.
 *
 * @throws {Error} ioredis's, when the connection fails; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE when no master answers
 */
export async function readServer (client: Redis | Cluster): Promise<Server> {
  const { info, runId } = client instanceof Cluster ? await readMasters(client) : await readOne(client)
  const field = (name: string) => info.get(name) ?? ''
  return {
    version: field('redis_version'),
    isCluster: field('cluster_enabled') === '1',
    runId,
    isLoading: field('loading') === '1',
    maxmemoryBytes: Number(field('maxmemory')),
    maxmemoryPolicy: field('maxmemory_policy')
  }
}

async function readOne (client: Redis): Promise<{ info: Info, runId: string }> {
  const info = await readInfo(client)
  return { info, runId: info.get('run_id') ?? '' }
}

/** A master that does not answer is named by its address: once it does, that is another. */
async function readMasters (cluster: Cluster): Promise<{ info: Info, runId: string }> {
  const answers = await Promise.all(cluster.nodes('master').map(async (node) => {
    const { host, port } = node.options
    const info = await within(readInfo(node)).catch(() => undefined)
    return { info, runId: info === undefined ? `${host}:${port}` : info.get('run_id') ?? '' }
  }))
  const info = answers.find(({ info }) => info !== undefined)?.info
  if (info === undefined) throw new RedisUnavailableError('no node answers')
  return { info, runId: answers.map(({ runId }) => runId).sort().join() }
}

async function readInfo (client: Redis): Promise<Info> {
  const info = await client.info().catch((error: Error) => {
    if (/^(NOPERM|ERR unknown command)/.test(error.message)) return ''
    throw error
  })
  return new Map(info.split('\r\n').map((line) => {
    const [name = '', ...value] = line.split(':')
    return [name, value.join(':')]
  }))
}
