import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import { RedisUnavailableError } from '../../shared/errors.ts'
import { withDeadline } from './deadline.ts'

/** What the server says of itself. */
export interface ServerInfo {
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

/** Stands before the address of a master that has not answered since this process began, in place of its `run_id`. */
const unheard = '?'

/**
 * Whether two identities differ only in masters that had not answered yet: the later one says more of the same servers, as far as this process can know.
 */
export function isCompleted (before: string, after: string): boolean {
  const [known, later] = [before.split(','), new Set(after.split(','))]
  return known.length === later.size && known.some(isUnheard) && known.every((runId) => isUnheard(runId) || later.has(runId))
}

function isUnheard (runId: string): boolean {
  return runId.startsWith(unheard)
}

/**
 * The joined `run_id` of a Cluster's masters, as one process has seen them on all of its connections. A master that does not answer keeps the
 * `run_id` that it had: its silence is no sign of another server.
 */
export class ClusterIdentity {
  /** by address, as heard last */
  readonly #runIds = new Map<string, string>()
  #current: readonly string[] = []

  /** @param masters by address, with their `run_id`; undefined for one that does not answer */
  join (masters: ReadonlyMap<string, string | undefined>): string {
    const heard: string[] = []
    for (const [address, runId] of masters) {
      if (runId === undefined) continue
      this.#runIds.set(address, runId)
      heard.push(runId)
    }
    // A connection whose slot map is older than another's may still list a master that a replica has replaced.
    const isNews = heard.length === masters.size || heard.some((runId) => !this.#current.includes(runId))
    if (isNews) this.#current = [...masters].map(([address, runId]) => runId ?? this.#runIds.get(address) ?? unheard + address).sort()
    return this.#current.join()
  }
}

/**
 * Reads what the server says of itself; with a Cluster, what the masters say that answer.
 *
 * @throws {Error} ioredis's, when the connection fails; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE when no master answers
 */
export async function readServerInfo (client: Redis | Cluster, identity: ClusterIdentity, deadlineMs: number): Promise<ServerInfo> {
  const { info, runId } = client instanceof Cluster ? await readMasters(client, identity, deadlineMs) : await readOne(client)
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

/** A master is one that the slot map names: ioredis forgets the connection to one that is away. */
async function readMasters (cluster: Cluster, identity: ClusterIdentity, deadlineMs: number): Promise<{ info: Info, runId: string }> {
  const nodes = new Map(cluster.nodes('master').map((node) => [addressOf(node), node]))
  const answers = await Promise.all([...mastersOf(cluster)].map(async (address) => {
    const node = nodes.get(address)
    return { address, info: node && await withDeadline(readInfo(node), deadlineMs).catch(() => undefined) }
  }))
  const info = answers.find(({ info }) => info !== undefined)?.info
  if (info === undefined) throw new RedisUnavailableError('no node answers')
  return { info, runId: identity.join(new Map(answers.map(({ address, info }) => [address, info && (info.get('run_id') ?? '')]))) }
}

function mastersOf ({ slots }: Cluster): Set<string> {
  const addresses = new Set<string>()
  for (const [address] of slots.filter((nodes, slot) => nodes !== slots[slot - 1])) if (address !== undefined) addresses.add(address)
  return addresses
}

/** As the slot map names a node. */
export function addressOf ({ options: { host, port } }: Redis): string {
  return `${host}:${port}`
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
