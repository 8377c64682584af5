import { Cluster, Redis } from 'ioredis'
import type { ClusterOptions, RedisOptions as ClientOptions } from 'ioredis'
import type { Address } from './address.ts'
import { defaultDeadlineMs, slownessOf } from './health/deadline.ts'
import { enforceHandshake } from './health/handshake.ts'
import { TlsConnector } from './tls-connector.ts'

/** What a connection is for: commands of all, one caller alone (and commands that wait there), Pub/Sub, or somebody else's own. */
export type Role = 'commands' | 'exclusive' | 'blocking' | 'subscriber' | 'own'

/** For a connection; for the slots of a Cluster, on a connection of their own; and how long each may take after attempts in vain. */
const connectMs = 500
const slotsMs = 300
const patientMs = { connect: 1000, slots: 1200 }

const retryStrategy = (attempt: number) => Math.min(50 * 2 ** Math.min(attempt - 1, 3), 400) * (0.75 + Math.random() * 0.5)

// Measured: with these every call settles within 250 ms under 30 kinds of fault and recovers within 1 s.
// (ioredis's own defaults wait 70 s for a dead server and for ever for a hung one.) The deadline of a command is the
// flight's or the lease's, silence is the wire's or the subscriber's to find, and whether a server is loading or was demoted
// the lane's: ioredis's own timers give up what has arrived while the event loop stood still.
const common: ClientOptions = { connectTimeout: connectMs, keepAlive: 5000, family: 0, retryStrategy, disableClientInfo: true, enableReadyCheck: false, disconnectTimeout: 100 }
// What has left and was not answered may have run. It is never sent again, by no connection that takes commands, nor for a reply that a client of the app would send it again for.
const once: ClientOptions = { ...common, maxRetriesPerRequest: 0, reconnectOnError: null }
const commands: ClientOptions = { ...once, enableOfflineQueue: false }
// Whoever has a connection alone has its WATCH and its transaction: a new connection would not, and say nothing.
const alone: ClientOptions = { ...once, retryStrategy: () => null }
const roles: Record<Role, ClientOptions> = {
  commands,
  exclusive: alone,
  // A server that hangs is found by a blocking command's own timeout and this much; one that waits for ever, by the keep-alive.
  blocking: { ...alone, blockingTimeout: 86_400_000, blockingTimeoutGrace: defaultDeadlineMs },
  subscriber: { ...common, maxRetriesPerRequest: null },
  own: once
}

/**
 * Opens connections to one address, or beside an app's own client.
 *
 * @returns a function that opens one more; it starts to connect at once, and reports failures as `error` events only
 */
export function connectionFactory (from: Address | Redis | Cluster, connection: ClientOptions, deadlineMs = defaultDeadlineMs): (role: Role, overrides?: ClientOptions) => Redis | Cluster {
  return (role, overrides = {}) => {
    const slowness = slownessOf(deadlineMs)
    const times = { connectTimeout: connectMs * slowness, ...(role === 'blocking' ? { blockingTimeoutGrace: deadlineMs } : {}) }
    const client = open(from, { ...roles[role], ...times, ...connection, lazyConnect: false, ...overrides }, slowness)
    if (client instanceof Redis) prepare(client)
    else client.on('error', () => {}).on('+node', prepare)
    growPatient(client, slowness)
    return client
  }
}

function prepare (client: Redis): void {
  hearErrors(client)
  enforceHandshake(client)
}

/**
 * ioredis reconnects by itself; what an outage means is decided by who asked. Without a listener it would print.
 * A TLS socket may fail once more while it is closed, and ioredis listens to the first failure only: unheard, the second would end the process.
 */
function hearErrors (client: Redis): void {
  client.on('error', () => { client.stream?.on('error', () => {}) })
}

/** Where handshakes are slow (TLS, all connections at once, a busy machine) none would ever succeed if each attempt had as little time as the one before. */
function growPatient (client: Redis | Cluster, slowness: number): void {
  let times = 1
  const allow = (more: number) => {
    times = more
    if (client instanceof Cluster) client.options.slotsRefreshTimeout = Math.min(slotsMs * times, patientMs.slots) * slowness
    else if (client.options.tls !== undefined) client.options.connectTimeout = Math.min(connectMs * times, patientMs.connect) * slowness
  }
  client.on('reconnecting', () => allow(Math.min(2 * times, 4)))
  client.on('ready', () => allow(1))
}

/** The Cluster that a server belongs to. */
export function asCluster (from: Address | Redis | Cluster): Address | Cluster {
  if (from instanceof Cluster || (!(from instanceof Redis) && from.kind === 'cluster')) return from
  const { host = '127.0.0.1', port = 6379, username, password, tls } = from.options
  return { kind: 'cluster', seeds: [{ host, port }], options: { ...(username == null ? {} : { username }), ...(password == null ? {} : { password }), ...(tls === undefined ? {} : { tls }) } }
}

function open (from: Address | Redis | Cluster, options: ClientOptions, slowness: number): Redis | Cluster {
  if (from instanceof Redis) return from.duplicate({ keyPrefix: '', enableAutoPipelining: false, ...options })
  if (from instanceof Cluster) return from.duplicate([], clusterOptions({ ...from.options.redisOptions, ...options }, slowness))
  const all = { ...from.options, ...options, ...tlsOf(from.options, options) }
  if (from.kind === 'cluster') return new Cluster(from.seeds, clusterOptions(all, slowness))
  return new Redis(all.sentinels !== undefined ? { ...all, ...sentinelOptions(all, slowness) } : all)
}

/** What a caller adds (an authority, a certificate) does not take away the server's name. */
function tlsOf (address: ClientOptions, own: ClientOptions): Pick<ClientOptions, 'tls'> {
  return address.tls === undefined && own.tls === undefined ? {} : { tls: { ...address.tls, ...own.tls } }
}

/** Sentinels speak TLS when their master does. */
function sentinelOptions ({ tls, sentinelTLS = tls }: ClientOptions, slowness: number): ClientOptions {
  return {
    sentinelRetryStrategy: retryStrategy,
    sentinelCommandTimeout: 500 * slowness,
    failoverDetector: true,
    ...(sentinelTLS === undefined ? {} : { sentinelTLS, enableTLSForSentinelMode: true })
  }
}

function clusterOptions ({ enableOfflineQueue = false, ...redisOptions }: ClientOptions, slowness: number): ClusterOptions {
  return {
    redisOptions: redisOptions.tls === undefined ? redisOptions : { ...redisOptions, Connector: TlsConnector },
    enableOfflineQueue,
    // The lane's own greeting is: a part that is well serves though another is not.
    enableReadyCheck: false,
    clusterRetryStrategy: retryStrategy,
    slotsRefreshTimeout: slotsMs * slowness,
    // The lane's own check does that: ioredis's timer may outlive its client.
    slotsRefreshInterval: 0,
    // What a broken connection has swallowed may have run: it is never sent again.
    retryDelayOnFailover: 0,
    // Who is told that a slot has no master goes on without, at once.
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 20,
    maxRedirections: 8,
    // A certificate names hosts.
    ...(redisOptions.tls === undefined ? {} : { dnsLookup: (host, found) => found(null, host) })
  }
}
