import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { readAddress } from '../redis/address.ts'
import { enforceHandshake } from '../redis/handshake.ts'
import { neededRights } from '../redis/outage.ts'
import { ReachFault, UsageFault } from './command.ts'

const patienceMs = 3000

/**
 * Opens one connection, or says in a sentence why there is none.
 *
 * @param tls an authority, a client's certificate and key, as `tls.connect` takes them; used where the address asks for TLS
 * @throws {UsageFault} for an address that is none; {ReachFault} for a server that is not reached
 */
export async function reach (url: string | undefined, tls?: object): Promise<Redis> {
  if (url === undefined) throw new UsageFault('REDIS_URL is unset, and no --url was given: there is no Redis to ask.')
  const client = new Redis({ ...optionsOf(url, tls), lazyConnect: true, connectTimeout: patienceMs, retryStrategy: () => null, maxRetriesPerRequest: 0, enableReadyCheck: false, disableClientInfo: true })
  enforceHandshake(client)
  let cause: Error | undefined
  client.on('error', (error) => { cause ??= error })
  try {
    await client.connect()
    await client.ping()
    return client
  } catch (error) {
    client.disconnect()
    throw new ReachFault(explain(cause ?? (error as Error), url))
  }
}

/** Of a Cluster's seeds the first. */
function optionsOf (url: string, tls: object | undefined): RedisOptions {
  try {
    const address = readAddress('--url', url)
    const options = address.kind === 'cluster' ? { ...address.options, ...address.seeds[0] } : address.options
    return options.tls === undefined ? options : { ...options, tls: { ...options.tls, ...tls } }
  } catch (error) {
    throw new UsageFault((error as Error).message)
  }
}

/** Why a connection failed, and what to do; the address without its password. */
export function explain (error: Error & { code?: string }, url: string): string {
  const where = URL.parse(url.split(',')[0] ?? '')?.host ?? 'that address'
  const text = `${error.code ?? ''} ${error.message}`
  return reasons.find(([pattern]) => pattern.test(text))?.[1](where) ?? `Redis at ${where} is not reached: ${error.message}.`
}

const reasons: readonly (readonly [pattern: RegExp, say: (where: string) => string])[] = [
  [/WRONGPASS|invalid (username-)?password|invalid username/i, (where) => `Redis at ${where} refuses the password: compare the user and password in REDIS_URL with the server's (percent-encode signs such as @ : / # %).`],
  [/NOAUTH/, (where) => `Redis at ${where} wants a password, and REDIS_URL has none: write redis://default:<password>@host:port.`],
  [/DENIED Redis is running in protected mode/i, (where) => `Redis at ${where} is in protected mode: give it a password, or bind it to the private network.`],
  [/NOPERM/, (where) => `Redis at ${where} lets this user do too little: it needs at least ${neededRights}.`],
  [/DB index is out of range|invalid DB index|SELECT is not allowed/i, (where) => `Redis at ${where} has no such database: name one that it has in REDIS_URL, or raise databases in its configuration (a Cluster has database 0 alone).`],
  [/max number of clients/, (where) => `Redis at ${where} has no connection left: lower redis.max of the services that share it, or raise maxclients.`],
  [/SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(VERIFY|GET)|CERT_UNTRUSTED|self.signed/i, (where) => `The certificate of Redis at ${where} is of an authority that this machine does not know: set REDIS_TLS_CA to its PEM file (NODE_EXTRA_CA_CERTS does too; in code, redis.connection.tls.ca).`],
  [/CERT_HAS_EXPIRED/, (where) => `The certificate of Redis at ${where} has expired: have it renewed.`],
  [/ALTNAME|does not match certificate/i, (where) => `The certificate of Redis at ${where} is for another name: use the name that stands in it.`],
  [/EPROTO|wrong version number|packet length too long|SSL/, (where) => `Redis at ${where} does not speak TLS there: write redis:// in place of rediss://, or use its TLS port.`],
  [/ECONNREFUSED/, (where) => `Nothing listens at ${where}: start Redis, or set REDIS_URL to where it is.`],
  [/ENOTFOUND|EAI_AGAIN/, (where) => `The name in ${where} is not known: check REDIS_URL, and that this machine is in the server's private network (on Railway: the same project and environment).`],
  [/ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|timed? ?out/i, (where) => `${where} does not answer within ${patienceMs / 1000} s: a firewall, another network, or a server that hangs.`],
  [/ECONNRESET|Connection is closed|EPIPE/, (where) => `${where} ends the connection at once: it may speak TLS only (write rediss://), or have no connection left (maxclients).`]
]
