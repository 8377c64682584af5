import { isIP } from 'node:net'
import type { RedisOptions as ClientOptions } from 'ioredis'
import { rejectOption } from '../shared/option-readers.ts'

/** The address of Redis: one server, the seed nodes of a Cluster, or a master behind Sentinels. */
export type Address =
  | { kind: 'server', options: ClientOptions }
  | { kind: 'cluster', seeds: { host: string, port: number }[], options: ClientOptions }
  | { kind: 'sentinel', options: ClientOptions }

const accepted = 'redis://, rediss:// or unix:// (several redis:// separated by commas are the seed nodes of a Cluster), or redis+sentinel://host:port,host:port/name'

/**
 * Parses the address of Redis.
 *
 * - `redis://[user:password@]host[:6379][/db]`, `rediss://` the same over TLS; `?family=4` or `6` for a name with both IPv4 and IPv6 addresses
 * - `unix://[user:password@]/path/to.sock[?db=n]`
 * - `redis://a:7000,redis://b:7000`: seed nodes of a Cluster; user and password are taken from the first
 * - `redis+sentinel://[user:password@]host:26379,host:26379/name[/db]`, `rediss+sentinel://` the same over TLS; user and password are for the master
 *
 * @throws {OptionError} PRISM_ERR_OPTION; the message names the wrong part and shows nothing of the value, because any part may belong to a password
 */
export function readAddress (option: string, urls: string): Address {
  try {
    return read(urls.trim())
  } catch (error) {
    return rejectOption(option, accepted, faultFrom(error))
  }
}

/** What is wrong with an address, without any part of it; undefined if it is valid. */
export function addressFault (urls: string): string | undefined {
  try {
    read(urls.trim())
    return undefined
  } catch (error) {
    return faultFrom(error)
  }
}

/** An invalid address; the message completes "is an address …". */
class InvalidAddress extends Error {}

function faultFrom (error: unknown): string {
  // decodeURIComponent throws a URIError.
  return `an address ${error instanceof InvalidAddress ? error.message : 'with a % that begins no escape: percent-encode it as %25'}`
}

function read (urls: string): Address {
  if (/^["'].*|["']$/.test(urls)) throw new InvalidAddress('in quotation marks')
  if (isReference(urls)) throw new InvalidAddress('with a reference to a variable that was not replaced')
  const sentinels = /^(rediss?)\+sentinel:\/\/(?:([^@/]*)@)?([^/@]+)\/([^/?]+)(?:\/(\d+))?$/.exec(urls)
  if (sentinels) return readSentinels(sentinels)
  const socket = /^unix:\/\/(?:([^@/]*)@)?(\/[^?#]+)(?:\?db=(\d+))?$/.exec(urls)
  if (socket) return readSocket(socket)
  const parts = urls.split(',').map((url) => readServer(url.trim()))
  const [first = {}] = parts
  if (parts.length === 1) return { kind: 'server', options: first }
  const seeds = parts.map((part) => readSeed(part, first))
  return { kind: 'cluster', seeds, options: loginOf(first) }
}

/** `${NAME}` anywhere, or `$NAME` as the host: a password may contain a single $. */
function isReference (urls: string): boolean {
  return urls.includes('${') || urls.split(',').some((url) => /^(?:[a-z+]+:\/\/)?(?:[^@/]*@)?\$\w/i.test(url.trim()))
}

/** A Cluster has database 0 only, and TLS on all nodes or none. */
function readSeed ({ host, port, db, tls }: ClientOptions, first: ClientOptions): { host: string, port: number } {
  if (host === undefined || port === undefined || db !== 0 || (tls === undefined) !== (first.tls === undefined)) throw new InvalidAddress('of a Cluster whose seed nodes name a database, or of which only some speak TLS')
  return { host, port }
}

/** Options for all nodes, without the host and its TLS server name. */
function loginOf ({ username, password, tls, family }: ClientOptions): ClientOptions {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls: {} }),
    ...(family === undefined ? {} : { family })
  }
}

/** A URL cannot have a user and an empty host, so `unix://` is parsed by a pattern. */
function readSocket ([, login, path = '', db = '']: RegExpExecArray): Address {
  return { kind: 'server', options: { ...readLogin(login), path: decodeURIComponent(path), db: readDatabase(db) } }
}

function readServer (text: string): ClientOptions {
  if (/[\t\n\r]/.test(text)) throw new InvalidAddress('with a space or a line break') // the URL parser would drop it
  const url = URL.parse(text)
  if (url === null || !['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '' || url.hash !== '' || /@/.test(url.pathname + url.search)) throw new InvalidAddress(serverFault(text, url))
  const family = readFamily(url)
  const host = hostOf(url)
  return {
    ...readLogin(`${url.username}:${url.password}`),
    ...(url.protocol === 'rediss:' ? { tls: tlsFor(host) } : {}),
    ...(family === undefined ? {} : { family: Number(family) }),
    host,
    port: Number(url.port || 6379),
    db: readDatabase(url.pathname.slice(1))
  }
}

/** Names the invalid part of a server's address. */
function serverFault (text: string, url: URL | null): string {
  const [, scheme, rest = ''] = /^([a-z][a-z\d+.-]*):\/\/(.*)$/is.exec(text) ?? []
  if (scheme === undefined) return text === '' ? 'that is empty' : /\s/.test(text) ? 'with a space or a line break' : 'without a scheme'
  if (/\+sentinel$/i.test(scheme)) return 'of Sentinels without the name of their master, or with more after it than a database'
  if (/^unix$/i.test(scheme)) return 'of a socket without an absolute path, or with another parameter than db'
  if (!/^rediss?$/i.test(scheme)) return 'with another scheme'
  // An unescaped delimiter in a password ends the host, so the @ of the login follows it.
  if (/[/?#].*@/s.test(rest)) return 'whose user or password has a /, ? or # that is not percent-encoded (%2F, %3F, %23)'
  if (url?.hash) return 'with a # (in a password %23)'
  const host = rest.replace(/[/?#].*$/s, '').replace(/^.*@/s, '')
  if (/\s/.test(host)) return 'with a space or a line break in its host'
  if (host.replace(/:[^:\]]*$/, '') === '') return 'without a host'
  const port = /:([^:\]]*)$/.exec(host)?.[1] ?? ''
  return /^\d{0,5}$/.test(port) && Number(port) <= 65_535 ? 'whose host is invalid' : 'whose port is not a number from 0 to 65535'
}

/** An IP address is not a TLS server name. @see RFC 6066 section 3 */
function tlsFor (host: string): { servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {}
}

function readSentinels ([, scheme, login = '', hosts = '', name = '', db = '']: RegExpExecArray): Address {
  const sentinels = hosts.split(',').map((host) => {
    const url = URL.parse(`redis://${host}`)
    if (url === null || url.hostname === '') throw new InvalidAddress('of Sentinels of which one has no host, or no port from 0 to 65535')
    return { host: hostOf(url), port: Number(url.port || 26379) }
  })
  const tls = scheme === 'rediss' ? { tls: {} } : {}
  return { kind: 'sentinel', options: { ...readLogin(login), ...tls, sentinels, name: decodeURIComponent(name), db: readDatabase(db) } }
}

function readLogin (login = ''): ClientOptions {
  const [username = '', ...rest] = login.split(':')
  const password = rest.join(':')
  return {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) })
  }
}

function readFamily ({ searchParams }: URL): string | undefined {
  const names = [...searchParams.keys()]
  const family = searchParams.get('family') ?? undefined
  if (names.some((name) => name !== 'family') || !['0', '4', '6', undefined].includes(family)) throw new InvalidAddress('with another parameter than family, which is 0, 4 or 6')
  return family
}

function readDatabase (text: string): number {
  if (!/^\d{0,5}$/.test(text)) throw new InvalidAddress('whose database is not an integer up to 99999')
  return Number(text)
}

function hostOf (url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '')
}
