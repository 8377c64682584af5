import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Cluster, Redis } from 'ioredis'
import type { Address } from '../address.ts'
import type { RedisPolicy } from '../options.ts'
import type { ReachabilityOptions } from './reachability.ts'

/** The address of one server. */
interface Endpoint { readonly host: string, readonly port: number, readonly isTls: boolean }

const timeoutMs = 1000

/** The first server of an address; undefined for a Unix socket and for Sentinels, which cannot be probed. */
export function endpointOf (address: Address): Endpoint | undefined {
  const { host, port } = address.kind === 'cluster' ? address.seeds[0] ?? {} : address.options
  return host === undefined || port === undefined || address.kind === 'sentinel' ? undefined : { host, port, isTls: address.options.tls !== undefined }
}

/** The address as text, without the login. */
export function placeOf (address: Address): string | undefined {
  if (address.kind === 'cluster') return address.seeds.map(({ host, port }) => `${host}:${port}`).join(',')
  const { host, port, path, sentinels, name } = address.options
  if (sentinels != null) return `${sentinels.map((sentinel) => `${sentinel.host}:${sentinel.port}`).join(',')}/${name}`
  return path ?? (host === undefined ? undefined : `${host}:${port}`)
}

/**
 * Detects a server that expects TLS on a plain address, or plain Redis on a TLS address. A client with the wrong protocol sees only a connection that
 * ends or hangs.
 *
 * @param mayEnd whether the process may exit during the probe
 * @returns an error that names the mismatch; undefined if there is none, or the server does not respond within 1 s
 */
export async function findProtocolMismatch ({ host, port, isTls }: Endpoint, mayEnd = false): Promise<Error | undefined> {
  if (isTls) return await speaksPlain(host, port, mayEnd) ? new Error('SERVER_SPEAKS_PLAIN') : undefined
  return await speaksTls(host, port, mayEnd) ? new Error('SERVER_SPEAKS_TLS') : undefined
}

/** Redis replies to an inline PING with `+PONG`, or with an error that begins with `-`. */
function speaksPlain (host: string, port: number, mayEnd: boolean): Promise<boolean> {
  const socket = connect({ host, port })
  socket.on('connect', () => socket.write('PING\r\n'))
  return firstOf(socket, mayEnd, (resolve) => { socket.once('data', (data: Buffer) => resolve(data[0] === 0x2b || data[0] === 0x2d)) })
}

/** A TLS server completes the handshake, or ends it with an alert. No data is sent, so the certificate is not checked. */
function speaksTls (host: string, port: number, mayEnd: boolean): Promise<boolean> {
  const socket = connectTls({ host, port, rejectUnauthorized: false })
  return firstOf(socket, mayEnd, (resolve) => {
    socket.once('secureConnect', () => resolve(true))
    socket.once('error', (error: Error & { code?: string }) => resolve(/ALERT/i.test(error.code ?? '')))
  })
}

function firstOf (socket: ReturnType<typeof connect>, mayEnd: boolean, listen: (resolve: (isSo: boolean) => void) => void): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, timeoutMs, false)
  if (mayEnd) {
    timer.unref()
    socket.unref()
  }
  listen(resolve)
  socket.on('error', () => resolve(false))
  socket.once('close', () => resolve(false))
  return promise.finally(() => {
    clearTimeout(timer)
    socket.destroy()
  })
}

/** Where Redis is, for a text without a login, and for a look at the protocol that it speaks. */
export function whereabouts ({ from, connection }: RedisPolicy): Pick<ReachabilityOptions, 'where' | 'isTls' | 'findMismatch'> {
  const address = from instanceof Cluster ? undefined : from instanceof Redis ? { kind: 'server' as const, options: from.options } : from
  const isTls = connection.tls !== undefined || address?.options.tls !== undefined
  const endpoint = address && endpointOf(address)
  return {
    where: address && placeOf(address),
    isTls,
    findMismatch: async () => endpoint && await findProtocolMismatch({ ...endpoint, isTls }, true)
  }
}
