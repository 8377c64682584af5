import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { Socket } from 'node:net'
import { addressGroup, bareAddress } from './ip-subnet.ts'

/** What of a request tells its client. */
export interface ClientRequest {
  /** the address that the trusted proxies name; undefined where the socket has none (Unix sockets, injected upgrades) */
  readonly ip?: string
  readonly raw: Pick<IncomingMessage, 'headers'> & { readonly socket?: Socket }
}

/** How much of an IPv6 address counts unless an option says otherwise: one subscriber's network. */
export const defaultPrefixBits = 64

/**
 * The client's address, without a port. When a trusted proxy names something that is no address, the proxy itself is the client.
 *
 * @returns `unknown` where not even the socket has an address
 */
export function clientAddress (request: ClientRequest): string {
  const { ip } = request
  if (ip !== undefined && isIP(ip) !== 0) return ip
  const named = ip === undefined ? '' : bareAddress(withBareHops(request).ip ?? '')
  return isIP(named) === 0 ? request.raw.socket?.remoteAddress ?? 'unknown' : named
}

/**
 * The key that everything counted or bounded by client uses: an IPv4 address, or the network of an IPv6 address.
 *
 * @param address from {@link clientAddress}
 * @returns made of `[0-9a-f.-]` only, or `unknown`
 */
export function clientKey (address: string, prefixBits = defaultPrefixBits): string {
  return addressGroup(address, prefixBits) ?? 'unknown'
}

/** No chain of trusted proxies is longer; what stands further to the left is the client's own text. */
const mostHops = 32

/** The request as if the proxies had written no ports: a trusted proxy that is named with its port is not recognised, and would be taken for the client. */
function withBareHops (request: ClientRequest): ClientRequest {
  const { headers, socket } = request.raw
  const hops = [headers['x-forwarded-for'] ?? []].flat().join().split(',').slice(-mostHops).map((hop) => bareAddress(hop.trim()))
  const raw = { headers: { 'x-forwarded-for': hops.join(', ') }, socket, connection: socket }
  return Object.create(request, { raw: { value: raw } }) as ClientRequest
}
