/** Who was refused, and how often; an address only as the network that it stands in. */
export interface RateLimitedClient { readonly who: string, readonly policy: string, readonly count: number }

const trackedClients = 100

/** Keeps who is refused most, in little memory whoever comes: of the least refused one gives way to a new one, and hands on its count. */
export class TopRateLimited {
  readonly #counts = new Map<string, RateLimitedClient>()

  add (address: string, policy: string): void {
    const who = truncateAddress(address)
    const name = `${policy} ${who}`
    const known = this.#counts.get(name)
    const count = known?.count ?? (this.#counts.size < trackedClients ? 0 : this.#giveWay())
    this.#counts.set(name, { who, policy, count: count + 1 })
  }

  /** The most refused first. */
  top (count: number): RateLimitedClient[] {
    return [...this.#counts.values()].sort((one, other) => other.count - one.count).slice(0, count)
  }

  #giveWay (): number {
    const [name, { count }] = [...this.#counts].reduce((least, each) => each[1].count < least[1].count ? each : least)
    this.#counts.delete(name)
    return count
  }
}

/** The network of an address: enough to see where a flood comes from, not who sent it. */
export function truncateAddress (address: string): string {
  if (/^[\d.]+$/.test(address)) return `${address.split('.').slice(0, 3).join('.')}.0/24`
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return truncateAddress(mapped)
  const [head = ''] = address.split('::')
  const groups = head.split(':').filter((group) => group !== '')
  return `${[...groups, '0', '0', '0'].slice(0, 3).join(':')}::/48`
}
