import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP, isIPv4 } from 'node:net'
import { addressGroup, withoutZone } from '../http/ip-subnet.ts'
import { clientAddress, clientKey } from '../http/client-key.ts'
import type { ClientRequest } from '../http/client-key.ts'
import { TwoGenerationLru } from '../shared/lru.ts'
import { isPromise, later, refuseReturned } from '../shared/returned-values.ts'
import type { By } from './options.ts'

/** The session that a request's sealed cookie names. Whether it lives, Redis says. */
export interface UnverifiedSession {
  readonly userId: string | undefined
  /** its hash in Redis, in the Redis that counts */
  readonly key: string
  /** its fields there: the first that is there counts */
  readonly devices: readonly string[]
  /** there where sessions are in another Redis than the one that counts: tells whether it lives, which this one cannot */
  readonly confirm?: (() => Promise<boolean>) | undefined
}

/** Who is counted: by what (a word of ours), and who it is (from outside). */
export interface Partition {
  readonly kind: 'ip' | 'user' | 'session' | 'key' | 'custom'
  readonly id: string
  /** counted so only while this session lives, else by the address */
  readonly session?: UnverifiedSession
}

/** A client's address as it is counted. */
export interface Client {
  readonly partition: Partition
  /** on the allow-list: not counted at all */
  readonly isAllowed: boolean
}

const addressesKept = 10_000
const longestAddress = 64
const longestName = 64

/** Finds whom an address stands for, and remembers the last ten thousand. */
export class ClientResolver {
  #known = new TwoGenerationLru<string, Client>(addressesKept)
  #allowed: BlockList
  #allowsNobody: boolean
  #prefixBits: number

  constructor (allowed: readonly string[], prefixBits: number) {
    this.#allowed = new BlockList()
    this.#allowsNobody = allowed.length === 0
    this.#prefixBits = prefixBits
    for (const network of allowed) {
      const [address = '', bits] = network.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      this.#allowed.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family)
    }
  }

  resolve (request: ClientRequest): Client {
    const { ip = '' } = request
    // An IPv4 address stands for itself: to read it costs less than to find it among ten thousand.
    if (this.#allowsNobody && isIPv4(ip)) return { partition: { kind: 'ip', id: ip }, isAllowed: false }
    return this.#known.get(ip) ?? this.#meet(ip, clientAddress(request))
  }

  #meet (ip: string, address: string): Client {
    const client = { partition: { kind: 'ip' as const, id: clientKey(address, this.#prefixBits) }, isAllowed: this.#isAllowed(address) }
    // What is no address may stand for many clients, and be as long as a header.
    if (ip === address && ip.length <= longestAddress) this.#known.set(ip, client)
    return client
  }

  #isAllowed (address: string): boolean {
    const bare = addressGroup(address, 128)?.includes('.') === true ? addressGroup(address) ?? '' : withoutZone(address)
    const family = isIP(bare)
    return family !== 0 && this.#allowed.check(bare, family === 6 ? 'ipv6' : 'ipv4')
  }
}

/** A name that an app gives a partition; long ones by their hash. */
export function customPartition (name: string): Partition {
  return { kind: 'custom', id: name.length > longestName ? hashOf(name) : name }
}

const keyHashes = new TwoGenerationLru<string, Partition>(1000)

/** An API key that its app knows: the key itself is kept nowhere. */
export function keyPartition (apiKey: string): Partition {
  const known = keyHashes.get(apiKey)
  if (known !== undefined) return known
  const partition: Partition = { kind: 'key', id: hashOf(apiKey) }
  keyHashes.set(apiKey, partition)
  return partition
}

/**
 * Whom a function of the app names, or an API key that the app knows; undefined where that cannot be told, and the address is counted.
 *
 * @throws {OptionError} PRISM_ERR_OPTION for what is no name: all clients would share one counter
 */
export function namedBy<Request extends { headers: IncomingHttpHeaders }> (by: By<Request>, request: Request): Partition | undefined | Promise<Partition | undefined> {
  if (typeof by === 'string') return undefined
  if (typeof by === 'function') {
    const name: unknown = by(request)
    return isPromise(name) ? later(name, readName) : readName(name)
  }
  const apiKey = request.headers[by.apiKey]
  if (typeof apiKey !== 'string' || apiKey === '') return undefined
  const isKnown: unknown = by.verify(apiKey)
  const partitionIf = (isKnown: unknown) => isKnown ? keyPartition(apiKey) : undefined
  return isPromise(isKnown) ? later(isKnown, partitionIf) : partitionIf(isKnown)
}

/** Whom a session's cookie names, where users or sessions are counted. */
export function partitionOfSession (by: By<never>, session: UnverifiedSession | undefined): Partition | undefined {
  if (session === undefined) return undefined
  if (by === 'user') return session.userId === undefined ? undefined : { kind: by, id: session.userId, session }
  return by === 'session' ? { kind: by, id: session.devices[0] ?? '', session } : undefined
}

/** An empty name names nothing. */
function readName (name: unknown): Partition | undefined {
  if (name === undefined || name === null || name === '') return undefined
  if (typeof name === 'string') return customPartition(name)
  return Number.isFinite(name) || typeof name === 'bigint' ? customPartition(String(name)) : refuseReturned('rateLimit.by()', 'a text, a number or undefined', name)
}

function hashOf (text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}
