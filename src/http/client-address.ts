import { BlockList, isIP } from 'node:net'
import type { IncomingMessage } from 'node:http'
import { bareAddress } from './ip-subnet.ts'

/** Which peers may state the client's address: none, Railway's edge, or the proxies in a list of networks. */
export type TrustedProxies =
  | { readonly kind: 'none' }
  | { readonly kind: 'railway' }
  | { readonly kind: 'networks', readonly networks: readonly string[] }

/** How a server determines the client's address. */
interface ClientAddress {
  /** Whether the peer at this address may state the address of the hop before it; `hop` 0 is the socket's peer. False: no header is read. */
  readonly trust: false | ((address: string, hop: number) => boolean)
  /** Copies a proxy's own header to `X-Forwarded-For`, the only header that is read afterwards. Call it before any code reads an address. */
  readonly prepare: (message: IncomingMessage) => void
}

const railwayNetwork = '100.64.0.0/10'

/**
 * Whether a text is a network that may be trusted: an address, or a CIDR block other than /0.
 *
 * @param text `10.0.0.0/8`, `fd12::/16`, `192.0.2.1`
 */
export function isNetwork (text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

/**
 * Returns the rule that determines a client's address.
 *
 * `X-Forwarded-For` is read from the right, only as far as the peers are trusted, so a client cannot forge it.
 * Railway's edge sends the client's address in `X-Real-IP` and connects from 100.64.0.0/10: no other peer and no other header is trusted.
 */
export function resolveClientAddress (proxies: TrustedProxies): ClientAddress {
  if (proxies.kind === 'none') return { trust: false, prepare: () => {} }
  const networks = blockListOf(proxies.kind === 'railway' ? [railwayNetwork] : proxies.networks)
  if (proxies.kind === 'networks') return { trust: (address) => includes(networks, bareAddress(address)), prepare: () => {} }
  return {
    trust: (address, hop) => hop === 0 && includes(networks, address),
    prepare: ({ headers }) => {
      const named = bareAddress([headers['x-real-ip'] ?? ''].flat().join())
      if (isIP(named) !== 0) headers['x-forwarded-for'] = named
      else delete headers['x-forwarded-for']
    }
  }
}

function blockListOf (networks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family)
  }
  return list
}

/** A socket that listens on `::` reports IPv4 peers as `::ffff:192.0.2.1`. */
function includes (networks: BlockList, address: string | undefined): boolean {
  const bare = address?.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address ?? ''
  const family = isIP(bare)
  return family !== 0 && networks.check(bare, family === 6 ? 'ipv6' : 'ipv4')
}
