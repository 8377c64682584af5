import { BlockList, isIP } from 'node:net'
import type { IncomingMessage } from 'node:http'
import { bareAddress } from './ip-subnet.ts'

/** Who may name the client: nobody, Railway's edge, or the proxies in a list of networks. */
export type TrustedProxies =
  | { readonly kind: 'none' }
  | { readonly kind: 'railway' }
  | { readonly kind: 'networks', readonly networks: readonly string[] }

/** What a server needs to know its clients: whom it trusts, and what it does to a request before anybody reads an address from it. */
export interface ClientAddress {
  /** Whether the peer at this address may name the one before it; `hop` 0 is the socket's own peer. False: no field is read. */
  readonly trust: false | ((address: string, hop: number) => boolean)
  /** Turns a proxy's own field into `X-Forwarded-For`, the one field that is read afterwards. */
  readonly prepare: (message: IncomingMessage) => void
}

const railwayNetwork = '100.64.0.0/10'

/**
 * Says whether a text is a network that may be trusted: an address, or a CIDR that does not span the whole internet.
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
 * Makes the rule that finds a client's address.
 *
 * `X-Forwarded-For` counts from the right, and only as far as the peers are trusted, so a client cannot add to it.
 * Railway's edge puts the client in `X-Real-IP` and speaks from 100.64.0.0/10: no other peer is believed, and no other field.
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

/** A socket that listens on `::` sees IPv4 peers as `::ffff:192.0.2.1`. */
function includes (networks: BlockList, address: string | undefined): boolean {
  const bare = address?.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address ?? ''
  const family = isIP(bare)
  return family !== 0 && networks.check(bare, family === 6 ? 'ipv6' : 'ipv4')
}
