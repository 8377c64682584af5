import { Cluster, Redis } from 'ioredis'
import type { ClusterOptions, RedisOptions as ClientOptions } from 'ioredis'
import type { Address } from './address.ts'
import { defaultDeadlineMs, slownessOf } from './health/deadline.ts'
import { enforceHandshake } from './health/handshake.ts'
import { TlsConnector } from './tls-connector.ts'

/** Purpose of a connection: shared commands, one caller's dedicated connection (`exclusive`, or `blocking` commands), Pub/Sub, or a library's `own`. */
export type Role = 'commands' | 'exclusive' | 'blocking' | 'subscriber' | 'own'

/** Timeouts of a connection attempt and of a slot map refresh, and their maximum after failed attempts. */
const connectMs = 500
const slotsMs = 300
const longestMs = { connect: 1000, slots: 1200 }

const retryStrategy = (attempt: number) => Math.min(50 * 2 ** Math.min(attempt - 1, 3), 400) * (0.75 + Math.random() * 0.5)

// Measured: with these every call settles within 250 ms under 30 kinds of fault and recovers within 1 s.
// (ioredis's defaults wait 70 s for a dead server and forever for a hung one.) InFlightWrite and Leases apply the deadline of a command,
// ConnectionHealth and Subscriber detect silent connections, Connection detects a loading or demoted server. ioredis's own timers are not
// used: they discard replies that have arrived while the event loop was blocked.
const common: ClientOptions = { connectTimeout: connectMs, keepAlive: 5000, family: 0, retryStrategy, disableClientInfo: true, enableReadyCheck: false, disconnectTimeout: 100 }
// A command without a reply may have been executed, so it is never sent again, even if the app's own client is configured with reconnectOnError.
const once: ClientOptions = { ...common, maxRetriesPerRequest: 0, reconnectOnError: null }
const commands: ClientOptions = { ...once, enableOfflineQueue: false }
// A reconnected connection would silently lose WATCH and the transaction.
const dedicated: ClientOptions = { ...once, retryStrategy: () => null }
const roles: Record<Role, ClientOptions> = {
  commands,
  exclusive: dedicated,
  // A hung server is detected by the blocking command's own timeout plus this grace; for a command without a timeout, by TCP keep-alive.
  blocking: { ...dedicated, blockingTimeout: 86_400_000, blockingTimeoutGrace: defaultDeadlineMs },
  subscriber: { ...common, maxRetriesPerRequest: null },
  own: once
}

/**
 * Makes a function that opens connections to one address, or with the options of an app's client.
 *
 * @returns a function that opens one connection, which starts to connect at once and reports failures as `error` events only
 */
export function connectionFactory (from: Address | Redis | Cluster, connection: ClientOptions, deadlineMs = defaultDeadlineMs): (role: Role, overrides?: ClientOptions) => Redis | Cluster {
  return (role, overrides = {}) => {
    const slowness = slownessOf(deadlineMs)
    const times = { connectTimeout: connectMs * slowness, ...(role === 'blocking' ? { blockingTimeoutGrace: deadlineMs } : {}) }
    const client = open(from, { ...roles[role], ...times, ...connection, lazyConnect: false, ...overrides }, slowness)
    if (client instanceof Redis) prepare(client)
    else client.on('error', () => {}).on('+node', prepare)
    raiseTimeouts(client, slowness)
    return client
  }
}

function prepare (client: Redis): void {
  ignoreErrors(client)
  enforceHandshake(client)
}

/**
 * Without a listener ioredis prints errors to the console. It handles only the first error of a socket, and a TLS socket may emit a second one while it is
 * closed: unhandled, that would end the process.
 */
function ignoreErrors (client: Redis): void {
  client.on('error', () => { client.stream?.on('error', () => {}) })
}

/** Raises the timeout after each failed attempt: with slow handshakes (TLS, many connections at once, a busy machine) a fixed one might never succeed. */
function raiseTimeouts (client: Redis | Cluster, slowness: number): void {
  let times = 1
  const allow = (more: number) => {
    times = more
    if (client instanceof Cluster) client.options.slotsRefreshTimeout = Math.min(slotsMs * times, longestMs.slots) * slowness
    else if (client.options.tls !== undefined) client.options.connectTimeout = Math.min(connectMs * times, longestMs.connect) * slowness
  }
  client.on('reconnecting', () => allow(Math.min(2 * times, 4)))
  client.on('ready', () => allow(1))
}

/** The address of the Cluster that a server belongs to. */
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

/** Merges the caller's TLS options (CA, certificate) with the server name from the address. */
function tlsOf (address: ClientOptions, own: ClientOptions): Pick<ClientOptions, 'tls'> {
  return address.tls === undefined && own.tls === undefined ? {} : { tls: { ...address.tls, ...own.tls } }
}

/** Sentinels use TLS if their master does. */
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
    // Connection checks readiness itself: healthy nodes serve while another node is down.
    enableReadyCheck: false,
    clusterRetryStrategy: retryStrategy,
    slotsRefreshTimeout: slotsMs * slowness,
    // ClusterNodes.check refreshes the slot map: ioredis's timer may outlive its client.
    slotsRefreshInterval: 0,
    // A command on a broken connection may have been executed: it is never sent again.
    retryDelayOnFailover: 0,
    // A command for a slot without a master fails at once.
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 20,
    maxRedirections: 8,
    // Certificates are for host names, so nodes must not be resolved to addresses.
    ...(redisOptions.tls === undefined ? {} : { dnsLookup: (host, found) => found(null, host) })
  }
}
