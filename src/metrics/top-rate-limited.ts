import { TwoGenerationLru } from '../shared/lru.ts'

/** Number of rejected requests of a network, which is /24 for IPv4 and /48 for IPv6. */
interface RateLimitedClient { readonly who: string, readonly policy: string, readonly count: number }

const trackedClients = 100

/** The most rate-limited networks, in bounded memory (Space-Saving algorithm): a new network replaces the one with the lowest count and inherits that count. */
export class TopRateLimited {
  readonly #counts = new Map<string, RateLimitedClient>()
  /** the networks of the last addresses: to truncate one costs more than to count it */
  readonly #networks = new TwoGenerationLru<string, string>(trackedClients)

  add (address: string, policy: string): void {
    const who = this.#networks.get(address) ?? this.#networkOf(address)
    const name = `${policy} ${who}`
    const known = this.#counts.get(name)
    const count = known?.count ?? (this.#counts.size < trackedClients ? 0 : this.#evict())
    this.#counts.set(name, { who, policy, count: count + 1 })
  }

  /** @returns the networks with the most rejections, highest first */
  top (count: number): RateLimitedClient[] {
    return [...this.#counts.values()].sort((one, other) => other.count - one.count).slice(0, count)
  }

  #networkOf (address: string): string {
    const network = truncateAddress(address)
    this.#networks.set(address, network)
    return network
  }

  #evict (): number {
    const [name, { count }] = [...this.#counts].reduce((least, each) => each[1].count < least[1].count ? each : least)
    this.#counts.delete(name)
    return count
  }
}

/** Truncates an address to its network: shows the origin of a flood without identifying the client. */
function truncateAddress (address: string): string {
  if (/^[\d.]+$/.test(address)) return `${address.split('.').slice(0, 3).join('.')}.0/24`
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return truncateAddress(mapped)
  const [head = ''] = address.split('::')
  const groups = head.split(':').filter((group) => group !== '')
  return `${[...groups, '0', '0', '0'].slice(0, 3).join(':')}::/48`
}
