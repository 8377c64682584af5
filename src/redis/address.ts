import type { RedisOptions as ClientOptions } from 'ioredis'
import { refuse } from '../options.ts'

/** Where Redis is: one server, a Cluster by its seed nodes, or a master that Sentinels know. */
export type Address =
  | { kind: 'server', options: ClientOptions }
  | { kind: 'cluster', seeds: { host: string, port: number }[], options: ClientOptions }
  | { kind: 'sentinel', options: ClientOptions }

const wanted = 'redis://, rediss:// or unix:// (several redis:// separated by commas are the seed nodes of a Cluster), or redis+sentinel://host:port,host:port/name'

/**
 * Reads where Redis is.
 *
 * - `redis://[user:password@]host[:6379][/db]`, `rediss://` the same over TLS
 * - `unix://[user:password@]/path/to.sock[?db=n]`
 * - `redis://a:7000,redis://b:7000`: seed nodes of a Cluster; user and password are the first one's
 * - `redis+sentinel://[user:password@]host:26379,host:26379/name[/db]`, `rediss+sentinel://` the same over TLS
 *
 * @throws {OptionError} PRISM_ERR_OPTION; the refusal names no password
 */
export function readAddress (option: string, urls: string): Address {
  const sentinels = /^(rediss?)\+sentinel:\/\/(?:([^@/]*)@)?([^/@]+)\/([^/?]+)(?:\/(\d+))?$/.exec(urls.trim())
  if (sentinels) return readSentinels(option, sentinels)
  const parts = urls.split(',').map((url) => readUrl(option, url.trim()))
  const [first] = parts
  if (first === undefined || parts.length === 1) return { kind: 'server', options: first ?? {} }
  const seeds = parts.map(({ host, port }) => host === undefined || port === undefined ? refuseAddress(option) : { host, port })
  if (first.db) return refuse(option, 'without a database number, for a Cluster has only 0', first.db)
  return { kind: 'cluster', seeds, options: { ...first, host: undefined, port: undefined } }
}

function readUrl (option: string, text: string): ClientOptions {
  const url = URL.parse(text) ?? refuseAddress(option)
  const login = readLogin(url.username, url.password)
  if (url.protocol === 'unix:') return { ...login, path: decodeURIComponent(url.pathname) || refuseAddress(option), db: readDatabase(option, url.searchParams.get('db') ?? '') }
  if (!['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '') return refuseAddress(option)
  const tls = url.protocol === 'rediss:' ? { tls: { servername: hostOf(url) } } : {}
  return { ...login, ...tls, host: hostOf(url), port: Number(url.port || 6379), db: readDatabase(option, url.pathname.slice(1)) }
}

function readSentinels (option: string, [, scheme, login = '', hosts = '', name = '', db = '']: RegExpExecArray): Address {
  const [username = '', password = ''] = login.split(':')
  const sentinels = hosts.split(',').map((host) => {
    const url = URL.parse(`redis://${host}`) ?? refuseAddress(option)
    return { host: hostOf(url), port: Number(url.port || 26379) }
  })
  const tls = scheme === 'rediss' ? { tls: {}, enableTLSForSentinelMode: true } : {}
  return { kind: 'sentinel', options: { ...readLogin(username, password), ...tls, sentinels, name: decodeURIComponent(name), db: readDatabase(option, db) } }
}

function readLogin (username: string, password: string): ClientOptions {
  return {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) })
  }
}

function readDatabase (option: string, text: string): number {
  return /^\d{0,5}$/.test(text) ? Number(text) : refuse(option, 'with a database number after the last slash, or nothing there', text)
}

function hostOf (url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '')
}

/** What came may hold a password: it is not shown. */
function refuseAddress (option: string): never {
  return refuse(option, wanted, undefined)
}
