import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP, isIPv4 } from 'node:net'
import { addressGroup, withoutZone } from '../http/ip-subnet.ts'
import { clientAddress, clientKey } from '../http/client-key.ts'
import type { ClientRequest } from '../http/client-key.ts'
import { TwoGenerationLru } from '../shared/lru.ts'
import { isPromise, later, invalidReturn } from '../shared/returned-values.ts'
import type { UnverifiedSession } from '../shared/session-identity.ts'
import type { By } from './options.ts'

/** A partition key: its kind, and an ID from the request. */
export interface Partition {
  readonly kind: 'ip' | 'user' | 'session' | 'key' | 'custom'
  readonly id: string
  /** applies only while this session is valid; otherwise the address is counted */
  readonly session?: UnverifiedSession
}

/** The partition of a client's address. */
interface Client {
  readonly partition: Partition
  /** on the allow list: not counted */
  readonly isAllowed: boolean
}

const maxAddresses = 10_000
const maxAddressLength = 64
const maxNameLength = 64

/** Resolves addresses to clients; caches the last 10,000. */
export class ClientResolver {
  #known = new TwoGenerationLru<string, Client>(maxAddresses)
  #allowed: BlockList
  #hasNoAllowList: boolean
  #prefixBits: number

  constructor (allowed: readonly string[], prefixBits: number) {
    this.#allowed = new BlockList()
    this.#hasNoAllowList = allowed.length === 0
    this.#prefixBits = prefixBits
    for (const network of allowed) {
      const [address = '', bits] = network.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      this.#allowed.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family)
    }
  }

  resolve (request: ClientRequest): Client {
    const { ip = '' } = request
    // An IPv4 address is its own partition: this is faster than the cache.
    if (this.#hasNoAllowList && isIPv4(ip)) return { partition: { kind: 'ip', id: ip }, isAllowed: false }
    return this.#known.get(ip) ?? this.#resolveAddress(ip, clientAddress(request))
  }

  #resolveAddress (ip: string, address: string): Client {
    const client = { partition: { kind: 'ip' as const, id: clientKey(address, this.#prefixBits) }, isAllowed: this.#isAllowed(address) }
    // Do not cache other texts: one may stand for many clients, and be as long as a header.
    if (ip === address && ip.length <= maxAddressLength) this.#known.set(ip, client)
    return client
  }

  #isAllowed (address: string): boolean {
    const bare = addressGroup(address, 128)?.includes('.') === true ? addressGroup(address) ?? '' : withoutZone(address)
    const family = isIP(bare)
    return family !== 0 && this.#allowed.check(bare, family === 6 ? 'ipv6' : 'ipv4')
  }
}

/** A partition named by the app; a long name is hashed. */
export function customPartition (name: string): Partition {
  return { kind: 'custom', id: name.length > maxNameLength ? hashOf(name) : name }
}

const keyHashes = new TwoGenerationLru<string, Partition>(1000)

/** The partition of a verified API key; only its hash is stored. */
export function keyPartition (apiKey: string): Partition {
  const known = keyHashes.get(apiKey)
  if (known !== undefined) return known
  const partition: Partition = { kind: 'key', id: hashOf(apiKey) }
  keyHashes.set(apiKey, partition)
  return partition
}

/**
 * The partition from the app's `by` function or a verified API key; undefined if there is none, and the address is counted.
 *
 * @throws {OptionError} PRISM_ERR_OPTION for a value of another type, under which all clients would share one counter
 */
export function appPartition<Request extends { headers: IncomingHttpHeaders }> (by: By<Request>, request: Request): Partition | undefined | Promise<Partition | undefined> {
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

/** The partition of a session, for policies that count users or sessions. */
export function partitionOfSession (by: By<never>, session: UnverifiedSession | undefined): Partition | undefined {
  if (session === undefined) return undefined
  if (by === 'user') return session.userId === undefined ? undefined : { kind: by, id: session.userId, session }
  return by === 'session' ? { kind: by, id: session.devices[0] ?? '', session } : undefined
}

/** An empty name counts as none. */
function readName (name: unknown): Partition | undefined {
  if (name === undefined || name === null || name === '') return undefined
  if (typeof name === 'string') return customPartition(name)
  return Number.isFinite(name) || typeof name === 'bigint' ? customPartition(String(name)) : invalidReturn('rateLimit.by()', 'a text, a number or undefined', name)
}

function hashOf (text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}
