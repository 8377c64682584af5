import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { Socket } from 'node:net'
import { addressGroup, bareAddress } from './ip-subnet.ts'

/** The parts of a request that identify its client. */
export interface ClientRequest {
  /** the address stated by the trusted proxies; undefined if the socket has none (Unix sockets, injected upgrades) */
  readonly ip?: string
  readonly raw: Pick<IncomingMessage, 'headers'> & { readonly socket?: Socket }
}

/** Default prefix length of an IPv6 client: one subscriber's network. */
const defaultPrefixBits = 64

/**
 * The client's address, without a port. If a trusted proxy states something that is not an address, the proxy is the client.
 *
 * @returns `unknown` if the socket has no address either
 */
export function clientAddress (request: ClientRequest): string {
  const { ip } = request
  if (ip !== undefined && isIP(ip) !== 0) return ip
  const named = ip === undefined ? '' : bareAddress(withoutPorts(request).ip ?? '')
  return isIP(named) === 0 ? request.raw.socket?.remoteAddress ?? 'unknown' : named
}

/**
 * The key by which clients are counted and limited: an IPv4 address, or the network of an IPv6 address.
 *
 * @param address from {@link clientAddress}
 * @returns characters of `[0-9a-f.-]` only, or `unknown`
 */
export function clientKey (address: string, prefixBits = defaultPrefixBits): string {
  return addressGroup(address, prefixBits) ?? 'unknown'
}

/** Longest chain of trusted proxies; hops further to the left are the client's own text. */
const maxHops = 32

/** Copies the request without ports in `X-Forwarded-For`: a trusted proxy listed with its port would not match its network and would be used as the client. */
function withoutPorts (request: ClientRequest): ClientRequest {
  const { headers, socket } = request.raw
  const hops = [headers['x-forwarded-for'] ?? []].flat().join().split(',').slice(-maxHops).map((hop) => bareAddress(hop.trim()))
  const raw = { headers: { 'x-forwarded-for': hops.join(', ') }, socket, connection: socket }
  return Object.create(request, { raw: { value: raw } }) as ClientRequest
}
