import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import { RedisUnavailableError } from '../../shared/errors.ts'
import type { ClusterIdentity } from './cluster-identity.ts'
import { withDeadline } from './deadline.ts'

/** Fields of the server's `INFO`. */
export interface ServerInfo {
  /** '' if the ACL denies INFO */
  version: string
  isCluster: boolean
  /** changes with every server process; for a Cluster, the joined `run_id` of all masters */
  runId: string
  /** false if a master of a Cluster is connected and did not reply in time: its `run_id` is not known, or that of an earlier process */
  isComplete: boolean
  isLoading: boolean
  /** a Sentinel replies to INFO too */
  isSentinel: boolean
  /** false if the reply to INFO is that of no Redis: another protocol, or a proxy that replies to every command */
  isRedis: boolean
  /** bytes; 0 without a limit */
  maxmemoryBytes: number
  /** `noeviction`, `allkeys-lru`, … */
  maxmemoryPolicy: string
}

/** Fields of the reply to INFO, or to CLUSTER INFO, by name. */
export type InfoFields = ReadonlyMap<string, string>

/**
 * Reads `INFO` of the server; of a Cluster, of all masters that reply.
 *
 * @throws {Error} ioredis's, when the connection fails; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE when no master replies
 */
export async function readServerInfo (client: Redis | Cluster, identity: ClusterIdentity, deadlineMs: number): Promise<ServerInfo> {
  const { info, runId, isComplete } = client instanceof Cluster ? await readMasters(client, identity, deadlineMs) : await readOne(client)
  const field = (name: string) => info.get(name) ?? ''
  return {
    version: field('redis_version'),
    isCluster: field('cluster_enabled') === '1',
    runId,
    isComplete,
    isLoading: field('loading') === '1',
    isSentinel: isSentinel(info),
    isRedis: isRedis(info),
    maxmemoryBytes: Number(field('maxmemory')),
    maxmemoryPolicy: field('maxmemory_policy')
  }
}

interface Reading { readonly info: InfoFields, readonly runId: string, readonly isComplete: boolean }

async function readOne (client: Redis): Promise<Reading> {
  const info = await readInfo(client)
  return { info, runId: info.get('run_id') ?? '', isComplete: true }
}

/** Uses the masters of the slot map, because ioredis removes nodes that are not connected. */
async function readMasters (cluster: Cluster, identity: ClusterIdentity, deadlineMs: number): Promise<Reading> {
  const nodes = new Map(cluster.nodes('master').map((node) => [addressOf(node), node]))
  const replies = await Promise.all([...mastersOf(cluster)].map(async (address) => {
    const node = nodes.get(address)
    const info = node && await withDeadline(readInfo(node), deadlineMs).catch(() => undefined)
    return { address, info, isLate: info === undefined && node?.status === 'ready' }
  }))
  const info = replies.find(({ info }) => info !== undefined)?.info
  if (info === undefined) throw new RedisUnavailableError(replies.length === 0 ? 'no slot is served' : 'no node replies')
  const runId = identity.join(new Map(replies.map(({ address, info }) => [address, info && (info.get('run_id') ?? '')])))
  return { info, runId, isComplete: !replies.some(({ isLate }) => isLate) }
}

function mastersOf ({ slots }: Cluster): Set<string> {
  const addresses = new Set<string>()
  for (const [address] of slots.filter((nodes, slot) => nodes !== slots[slot - 1])) if (address !== undefined) addresses.add(address)
  return addresses
}

/** The address of a node, as in the slot map. */
export function addressOf ({ options: { host, port } }: Redis): string {
  return `${host}:${port}`
}

async function readInfo (client: Redis): Promise<InfoFields> {
  const info = await client.info().catch((error: Error) => {
    if (/^(NOPERM|ERR unknown command)/.test(error.message)) return 'redis_version:' // it is Redis, of a version that it does not tell
    throw error
  })
  return parseInfo(info)
}

/** Whether a server is a Sentinel, by its INFO. */
export function isSentinel (info: InfoFields): boolean {
  return info.get('redis_mode') === 'sentinel'
}

/** Whether a reply to INFO is that of Redis, not of a server that replies to every command, or greets as Redis replies. */
export function isRedis (info: InfoFields): boolean {
  return info.has('redis_version')
}

const stillLoading = new Error('LOADING Redis is loading the dataset in memory')
const sentinelAddress = new Error('SENTINEL_ADDRESS')
export const notRedis = new Error('Unknown RESP type: no reply to INFO')

/** Why no command can be sent to a server that has replied to INFO; undefined if there is no reason. */
export function serverFault ({ isRedis, isSentinel, isLoading }: ServerInfo): Error | undefined {
  return !isRedis ? notRedis : isSentinel ? sentinelAddress : isLoading ? stillLoading : undefined
}

/** Whether a version is older than the package requires; false if it is unknown. */
export function isTooOld (redisVersion: string): boolean {
  return Number.parseInt(redisVersion) < 7
}

/** The server's product and its own version. Valkey reports as `redis_version` the Redis that it is compatible with, 7.2.4. */
export function productOf (info: InfoFields): { name: string, version: string, redisVersion: string } {
  const redisVersion = info.get('redis_version') ?? 'unknown'
  const valkeyVersion = info.get('valkey_version')
  return valkeyVersion === undefined ? { name: 'Redis', version: redisVersion, redisVersion } : { name: 'Valkey', version: valkeyVersion, redisVersion }
}

/** Parses the reply to INFO or CLUSTER INFO. Lines without a colon (section headings, empty lines) have no field. */
export function parseInfo (info: string): InfoFields {
  const fields = new Map<string, string>()
  for (const line of info.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1))
  }
  return fields
}
