import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Cluster, Redis } from 'ioredis'
import type { Address } from '../address.ts'
import type { RedisPolicy } from '../options.ts'
import type { ReachabilityOptions } from './reachability.ts'

/** The address of one server. */
interface Endpoint { readonly host: string, readonly port: number, readonly isTls: boolean }

const timeoutMs = 1000
/** A server that rejects a connection says so before it reads a command, and one of another protocol may greet. */
const greetingMs = 300

/** The first server of an address; undefined for a Unix socket and for Sentinels, which cannot be probed. */
export function endpointOf (address: Address): Endpoint | undefined {
  const { host, port } = address.kind === 'cluster' ? address.seeds[0] ?? {} : address.options
  return host === undefined || port === undefined || address.kind === 'sentinel' ? undefined : { host, port, isTls: address.options.tls !== undefined }
}

/** The address as text, without the login. */
export function placeOf (address: Address): string | undefined {
  if (address.kind === 'cluster') return address.seeds.map(hostAndPort).join(',')
  const { host, port, path, sentinels, name } = address.options
  if (sentinels != null) return `the master ${name} of the Sentinels ${sentinels.map(hostAndPort).join(',')}`
  return path ?? (host === undefined ? undefined : hostAndPort({ host, port }))
}

function hostAndPort ({ host = '', port = 6379 }: { host?: string | undefined, port?: number | undefined }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/**
 * Finds out why a connection to a server does not succeed: plain Redis on a TLS address, TLS on a plain address, another protocol, or an error that the server
 * sends before it closes (protected mode, maxclients). A client that has sent a command by then sees only a connection that ends or hangs.
 *
 * @param mayEnd whether the process may exit during the probe
 * @returns an error that names the cause; undefined if there is none, or the server does not respond within 1.3 s
 */
export async function probeServer ({ host, port, isTls }: Endpoint, mayEnd = false): Promise<Error | undefined> {
  if (isTls) return await speaksPlain(host, port, mayEnd) ? new Error('SERVER_SPEAKS_PLAIN') : undefined
  const greeting = await greetingOf(host, port, mayEnd)
  if (greeting !== undefined) return greeting
  return await speaksTls(host, port, mayEnd) ? new Error('SERVER_SPEAKS_TLS') : undefined
}

/** What a server sends before it has received anything. */
function greetingOf (host: string, port: number, mayEnd: boolean): Promise<Error | undefined> {
  const socket = connect({ host, port })
  return firstOf<Error | undefined>(socket, mayEnd, undefined, (resolve) => {
    socket.once('data', (data: Buffer) => {
      const isError = data[0] === 0x2d
      resolve(isError ? Object.assign(new Error(data.toString('latin1', 1).split('\r\n')[0]), { name: 'ReplyError' }) : new Error('Unknown RESP type: a greeting'))
    })
  }, greetingMs)
}

/** Redis replies to an inline PING with `+PONG`, or with an error that begins with `-`. */
function speaksPlain (host: string, port: number, mayEnd: boolean): Promise<boolean> {
  const socket = connect({ host, port })
  socket.on('connect', () => socket.write('PING\r\n'))
  return firstOf(socket, mayEnd, false, (resolve) => { socket.once('data', (data: Buffer) => resolve(data[0] === 0x2b || data[0] === 0x2d)) })
}

/** A TLS server completes the handshake, or ends it with an alert. No data is sent, so the certificate is not checked. */
function speaksTls (host: string, port: number, mayEnd: boolean): Promise<boolean> {
  const socket = connectTls({ host, port, rejectUnauthorized: false })
  return firstOf(socket, mayEnd, false, (resolve) => {
    socket.once('secureConnect', () => resolve(true))
    socket.once('error', (error: Error & { code?: string }) => resolve(/ALERT/i.test(error.code ?? '')))
  })
}

/** @param none the result when the socket fails or closes, and after `ms` */
function firstOf<Result> (socket: ReturnType<typeof connect>, mayEnd: boolean, none: Result, listen: (resolve: (result: Result) => void) => void, ms = timeoutMs): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<Result>()
  const timer = setTimeout(resolve, ms, none)
  if (mayEnd) {
    timer.unref()
    socket.unref()
  }
  listen(resolve)
  socket.on('error', () => resolve(none))
  socket.once('close', () => resolve(none))
  return promise.finally(() => {
    clearTimeout(timer)
    socket.destroy()
  })
}

/** Where Redis is, for a text without a login, and for a look at the protocol that it speaks. */
export function whereabouts ({ from, connection }: RedisPolicy): Pick<ReachabilityOptions, 'where' | 'probe'> {
  const address = from instanceof Cluster ? undefined : from instanceof Redis ? { kind: 'server' as const, options: from.options } : from
  const isTls = connection.tls !== undefined || address?.options.tls !== undefined
  const endpoint = address && endpointOf(address)
  return {
    where: address && placeOf(address),
    probe: async () => endpoint && await probeServer({ ...endpoint, isTls }, true)
  }
}
