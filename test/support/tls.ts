import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeAuthority, type Authority, type KeyPair } from './certificates.ts'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'
import { startRedisProcess, type RedisProcess } from './redis-process.ts'

/** Options of a server with TLS. */
export interface TlsOptions {
  /** true: clients need a certificate of the same authority */
  authClients?: boolean
  /** command line arguments of redis-server */
  args?: string[]
}

/** A Redis server with TLS on its only port, and what clients need to connect. */
export interface TlsRedis {
  /** `rediss://` */
  url: string
  host: string
  port: number
  /** The authority's certificate, PEM. */
  ca: string
  /** Issues further certificates. */
  authority: Authority
  /** A client's certificate and key, PEM. */
  client: KeyPair
  /** The same, as files in PEM. */
  paths: { ca: string, cert: string, key: string }
  server: RedisProcess
}

/** Starts a Redis server with TLS under its own authority; all ends with the owner. */
export async function startTls (owner: Owner, options: TlsOptions = {}): Promise<TlsRedis> {
  const authority = await makeAuthority()
  const client = await authority.issue('client')
  const folder = await mkdtemp(join(tmpdir(), 'prism-tls-'))
  owner.after(() => rm(folder, { recursive: true, force: true }))
  const serverPaths = await write(folder, 'server', authority.ca, await authority.issue('localhost'))
  const paths = await write(folder, 'client', authority.ca, client)
  const port = await freePort()
  const server = await startRedisProcess(owner, { port, args: [...words(port, serverPaths, options.authClients), ...options.args ?? []] })
  return { url: `rediss://127.0.0.1:${port}`, host: server.host, port, ca: authority.ca, authority, client, paths, server }
}

function words (port: number, paths: TlsRedis['paths'], authClients = false): string[] {
  return [
    '--port', '0',
    '--tls-port', String(port),
    '--tls-ca-cert-file', paths.ca,
    '--tls-cert-file', paths.cert,
    '--tls-key-file', paths.key,
    '--tls-auth-clients', authClients ? 'yes' : 'no'
  ]
}

async function write (folder: string, name: string, ca: string, pair: KeyPair): Promise<TlsRedis['paths']> {
  const paths = { ca: join(folder, 'ca.pem'), cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) }
  await writeFile(paths.ca, ca)
  await writeFile(paths.cert, pair.cert)
  await writeFile(paths.key, pair.key, { mode: 0o600 })
  return paths
}
