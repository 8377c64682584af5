import type { Redis } from 'ioredis'
import { announcedMs } from '../redis/app-announcer.ts'
import { Keys } from '../redis/keys.ts'
import { isRedis, isSentinel, isTooOld, notRedis, parseInfo, productOf } from '../redis/health/server-info.ts'
import type { InfoFields } from '../redis/health/server-info.ts'
import { defaultDeadlineMs as deadlineMs } from '../redis/health/deadline.ts'
import { memoryThresholds, mayEvictSessions, readMemoryInfo, usedShareOf } from '../redis/health/memory-info.ts'
import { aclDenial } from '../redis/health/error-class.ts'
import { reasonOf } from '../redis/health/unreachable-reason.ts'
import { checkWrites } from '../redis/health/write-check.ts'

/** What one check found: one sentence, and what to change. */
export interface Finding {
  readonly check: string
  readonly state: 'fine' | 'warning' | 'wrong'
  readonly says: string
  readonly change?: string
  /** the code of the reason, where it is one of those that the service tells */
  readonly reason?: string
  /** of a Cluster's masters which: `host:port` */
  readonly node?: string
}

/** What a server is for. */
export type RedisRole = 'all' | 'sessions' | 'all but sessions'

const fine = (check: string, says: string): Finding => ({ check, state: 'fine', says })
const warning = (check: string, says: string, change: string): Finding => ({ check, state: 'warning', says, change })
const wrong = (check: string, says: string, change: string): Finding => ({ check, state: 'wrong', says, change })

/** Looks at a server that was reached. A check that the user's rights forbid is told, and the others go on. */
export async function * checkServer (client: Redis, url: string, holds: RedisRole, prefix = ''): AsyncGenerator<Finding> {
  const info = await client.info('everything').then(parseInfo, denied)
  if (!(info instanceof Error) && isSentinel(info)) return yield refused('role', new Error('SENTINEL_ADDRESS'))
  if (!(info instanceof Error) && !isRedis(info)) return yield refused('version', notRedis)
  if (!(info instanceof Error)) {
    yield checkVersion(info)
    yield checkRole(info)
    yield checkMemory(info)
    yield checkPolicy(info, holds)
    yield * checkPersistence(info)
  }
  if (info instanceof Error || info.get('role') !== 'slave') yield await checkRefusals(client, prefix)
  yield await checkLatency(client)
  yield await checkClock(client).catch((error: Error) => refused('clock', denied(error)))
  yield info instanceof Error ? refused('rights', info) : await checkClients(client, info)
  yield checkEncryption(url)
  const apps = await client.hgetall(new Keys(prefix).apps()).catch(() => ({})) // of a Cluster only one node has the key
  if (Object.keys(apps).length > 0) yield checkApps(apps, prefix)
}

/** Whether several apps use one key prefix. */
function checkApps (seen: Readonly<Record<string, string>>, prefix: string): Finding {
  const names = Object.keys(seen).filter((name) => Number(seen[name]) > Date.now() - announcedMs).sort()
  const where = prefix === '' ? 'without a key prefix' : `with the key prefix ${prefix}`
  if (names.length < 2) return fine('apps', `One app uses it ${where}.`)
  return warning('apps', `${names.length} apps use it ${where}: ${names.join(', ')}. They serve each other's cached responses and share sessions and rate limits.`, 'Set redis.prefix in all of them but one, or the same redis.app in all if that is intended.')
}

/** What a user may not do, and what the server does not have, is a finding; any other failure ends the checks. */
function denied (error: Error): Error {
  if (aclDenial(error) === undefined && !/^ERR unknown command\b/.test(error.message)) throw error
  return error
}

/** A finding with the code, sentence and remedy that the service reports for an error. */
export function refused (check: string, error: Error, where?: string): Finding {
  const { code, sentence, remedy } = reasonOf(error, { where })
  return { ...wrong(check, sentence, remedy), reason: code }
}

/** Whether writes are refused: memory, disk, replicas, or the user's rights. */
async function checkRefusals (client: Redis, prefix: string): Promise<Finding> {
  const error = await checkWrites(client, prefix, 3000)
  return error === undefined ? fine('writes', 'Redis accepts the writes of this user.') : refused('writes', error)
}

function checkVersion (info: InfoFields): Finding {
  const { name, version, redisVersion } = productOf(info)
  if (!isTooOld(redisVersion)) return fine('version', `${name} ${version}.`)
  return { ...wrong('version', `${name} ${version} is too old: 7 or newer is required (PEXPIRE GT, EVALSHA on replicas, client eviction).`, 'Upgrade the server to Redis 7.2 or newer, or Valkey.'), reason: 'version_too_old' }
}

function checkRole (info: InfoFields): Finding {
  if (info.get('role') !== 'slave') return fine('role', `A master, with ${info.get('connected_slaves') ?? 0} replicas.`)
  const writes = info.get('slave_read_only') === '0' ? 'it accepts writes, which its master never receives and which are lost' : 'every write is rejected'
  return { ...wrong('role', `This is a replica of ${info.get('master_host')}:${info.get('master_port')}: ${writes}.`, 'Set REDIS_URL to the master, or to its Sentinels: redis+sentinel://host:26379,host:26379/name.'), reason: 'read_only' }
}

function checkMemory (info: InfoFields): Finding {
  const memory = readMemoryInfo(info)
  const { usedBytes: used, limitBytes: max } = memory
  const megabytes = (bytes: number) => `${Math.round(bytes / 1024 / 1024)} MB`
  if (!(max > 0)) return warning('memory', `No maxmemory is set; ${megabytes(used)} are used. When the machine has no memory left, the system ends Redis, and all sessions are lost.`, 'CONFIG SET maxmemory, and the same in redis.conf: three quarters of the container\'s memory (192mb of 256 MB).')
  const share = usedShareOf(memory)
  const says = `${megabytes(used)} of ${megabytes(max)} are used (${Math.round(share * 100)} %).`
  return share > memoryThresholds.full ? wrong('memory', says, 'Run the command `keys`, which shows the largest namespace: shorten its lifetime, or raise maxmemory.') : share > memoryThresholds.high ? warning('memory', says, 'Run the command `keys`, which shows the largest namespace.') : fine('memory', says)
}

function checkPolicy (info: InfoFields, holds: RedisRole): Finding {
  const policy = info.get('maxmemory_policy') ?? 'unknown'
  if (holds === 'sessions' && policy === 'noeviction') return fine('policy', 'maxmemory-policy noeviction: no session is evicted.')
  if (holds === 'all but sessions' && policy !== 'noeviction') return fine('policy', `maxmemory-policy ${policy}: sessions are in a separate Redis, and cannot be evicted here.`)
  if (policy !== 'noeviction' && !mayEvictSessions(policy)) return fine('policy', `maxmemory-policy ${policy}: cached responses and counters are evicted before sessions.`)
  if (Number(info.get('maxmemory')) === 0) return fine('policy', `maxmemory-policy ${policy}, which has no effect without a memory limit.`)
  if (policy === 'noeviction') return wrong('policy', 'maxmemory-policy noeviction: once memory is full, every write is rejected, those of sessions and rate limits included.', 'CONFIG SET maxmemory-policy volatile-ttl; or allkeys-lru where sessions have a separate Redis.')
  return warning('policy', `maxmemory-policy ${policy} may evict sessions: an evicted session signs its user out.`, 'CONFIG SET maxmemory-policy volatile-ttl, or use a separate Redis for sessions (SESSION_REDIS_URL; in code session.redis).')
}

function checkPersistence (info: InfoFields): Finding[] {
  const failed = [['rdb_last_bgsave_status', 'snapshot'], ['aof_last_write_status', 'append-only file']].filter(([field = '']) => info.has(field) && info.get(field) !== 'ok')
  return failed.length === 0 ? [fine('persistence', 'The last writes to disk succeeded.')] : failed.map(([, what]) => wrong('persistence', `The last ${what} could not be written: Redis may reject writes.`, 'Check the server\'s log and disk.'))
}

const pings = 50
const pingsMs = 2000

async function checkLatency (client: Redis): Promise<Finding> {
  const times: number[] = []
  const startedAt = performance.now()
  while (times.length < pings && (times.length < 3 || performance.now() - startedAt < pingsMs)) {
    const sentAt = performance.now()
    await client.ping().catch(denied)
    times.push(performance.now() - sentAt)
  }
  times.sort((one, other) => one - other)
  const [p50 = 0, worst = 0] = [times[Math.floor(times.length / 2)], times.at(-1)]
  const says = `A round trip takes ${p50.toFixed(2)} ms (median of ${times.length}), ${worst.toFixed(2)} ms at worst`
  if (p50 > deadlineMs) return { ...wrong('latency', `${says}: longer than the deadline of ${deadlineMs} ms, so the service treats Redis as unavailable.`, 'Use a server in the same region, by its private address; check SLOWLOG GET.'), reason: 'no_answer' }
  return p50 > 1 ? warning('latency', `${says}.`, 'Use the private address of the server, in the same region: each request waits for one round trip.') : fine('latency', `${says}.`)
}

async function checkClock (client: Redis): Promise<Finding> {
  const before = Date.now()
  const [seconds, micros] = await client.time()
  const offsetMs = Math.round(Number(seconds) * 1000 + Number(micros) / 1000 - (before + Date.now()) / 2)
  const says = `Its clock is ${Math.abs(offsetMs)} ms ${offsetMs < 0 ? 'behind' : 'ahead of'} this machine's.`
  return Math.abs(offsetMs) > 2000 ? warning('clock', says, 'Synchronise both clocks by NTP: the age of cached responses and the times of logs are those of this machine.') : fine('clock', says)
}

async function checkClients (client: Redis, info: InfoFields): Promise<Finding> {
  const list = await client.call('CLIENT', 'LIST').then(String, () => '')
  const [count, most] = [Number(info.get('connected_clients')), Number(info.get('maxclients') ?? 10_000)]
  const byAddress = Map.groupBy([...list.matchAll(/ addr=(\S+):\d+ /g)], ([, host = '']) => host)
  const largest = [...byAddress].sort(([, one], [, other]) => other.length - one.length).slice(0, 3).map(([host, all]) => `${all.length} from ${host}`)
  const says = `${count} of ${most} connections${largest.length > 0 ? `: ${largest.join(', ')}` : ''}.`
  return count > 0.8 * most ? wrong('clients', says, 'Lower redis.max of the services that share it, or raise maxclients.') : fine('clients', says)
}

function checkEncryption (url: string): Finding {
  const { protocol, hostname = '' } = URL.parse(url.split(',')[0] ?? '') ?? {}
  const isPrivate = /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[?(::1|f[cd]))|\.(internal|local)$|^[^.]*$/i.test(hostname)
  if (protocol === 'rediss:' || protocol === 'unix:') return fine('encryption', 'The connection is encrypted, or local.')
  return isPrivate ? fine('encryption', 'Not encrypted, on a private network.') : warning('encryption', `Sessions are sent to ${hostname} without encryption.`, 'Use rediss://, or the server\'s private address.')
}
