import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { addressFault, readAddress } from '../redis/address.ts'
import type { Address } from '../redis/address.ts'
import { enforceHandshake } from '../redis/health/handshake.ts'
import { endpointOf, placeOf, probeServer } from '../redis/health/protocol-probe.ts'
import { isSpecific, reasonOf } from '../redis/health/unreachable-reason.ts'
import { ConnectError, UsageError } from './command.ts'

const patienceMs = 3000
/** Longer than any of its steps: whatever hangs, a command line ends. */
const deadlineMs = 8000

/**
 * Opens one connection, or says in a sentence why there is none. No command on it waits longer than 3 s.
 *
 * @param tls an authority, a client's certificate and key, as `tls.connect` takes them; used with `rediss://`
 * @throws {UsageError} for an address that is none; {ReachFault} for a server that is not reached
 */
export async function connect (url: string | undefined, tls?: object): Promise<Redis> {
  if (url === undefined) throw new UsageError('REDIS_URL is unset, and no --url was given: name the address of a Redis.')
  const address = readUrl(url)
  const client = new Redis({ ...optionsOf(address, tls), lazyConnect: true, connectTimeout: patienceMs, commandTimeout: patienceMs, retryStrategy: () => null, sentinelRetryStrategy: () => null, sentinelCommandTimeout: patienceMs, maxRetriesPerRequest: 0, enableReadyCheck: false, disableClientInfo: true })
  enforceHandshake(client)
  let cause: Error | undefined
  client.on('error', (error) => { cause ??= error })
  try {
    await bounded(greet(client))
    return client
  } catch (error) {
    client.disconnect()
    throw await faultOf(cause ?? (error as Error), address)
  }
}

async function greet (client: Redis): Promise<void> {
  await client.connect()
  // A user who may not PING is told so, and reached all the same.
  await client.ping().catch((error: Error) => { if (!/^NOPERM/.test(error.message)) throw error })
}

/** Whether an address lists the seed nodes of a Cluster. */
export function isClusterAddress (url: string): boolean {
  return readUrl(url).kind === 'cluster'
}

/** @throws {Error} after 8 s */
export async function bounded<Value> (work: Promise<Value>): Promise<Value> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no reply within ${deadlineMs / 1000} s`)), deadlineMs)
  return await Promise.race([work, promise]).finally(() => clearTimeout(timer))
}

function readUrl (url: string): Address {
  const fault = addressFault(url)
  if (fault !== undefined) throw new UsageError(`The address of Redis is invalid: it is ${fault}.`)
  return readAddress('--url', url)
}

/** Of a Cluster's seeds the first. */
function optionsOf (address: Address, tls: object | undefined): RedisOptions {
  const options = address.kind === 'cluster' ? { ...address.options, ...address.seeds[0] } : address.options
  return options.tls === undefined ? options : { ...options, tls: { ...options.tls, ...tls } }
}

/** The same reasons as the service tells. */
async function faultOf (error: Error, address: Address): Promise<ConnectError> {
  const endpoint = endpointOf(address)
  const found = isSpecific(error) || endpoint === undefined ? undefined : await probeServer(endpoint)
  return new ConnectError(reasonOf(found ?? error, { where: placeOf(address) }))
}
