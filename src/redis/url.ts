const wanted = "redis://host:port, rediss://host:port or unix:///path/to/socket; several of the first two, with commas between them, are a Cluster's seeds (a comma in a password is written %2C)"

/** What is wrong with the address of a Redis, in words that show no password. */
export interface RedisUrlFault {
  readonly wanted: string
  readonly came: string
}

/**
 * Checks what `REDIS_URL` or an option `redis.url` holds.
 *
 * @param text one address, or a Cluster's seeds with commas between them
 * @returns undefined when it may be used; otherwise the first fault, which never repeats what stands before an `@`
 */
export function redisUrlFault (text: string): RedisUrlFault | undefined {
  const seeds = text.split(',').map((seed) => seed.trim())
  const faults = seeds.map(seedFault)
  const at = faults.findIndex((fault) => fault !== undefined)
  const fault = faults[at]
  if (fault !== undefined) return { wanted, came: seeds.length === 1 ? fault : `a list whose number ${at + 1} is ${fault}` }
  return seeds.length === 1 ? undefined : clusterFault(seeds)
}

function seedFault (seed: string): string | undefined {
  const scheme = /^([a-z][a-z\d+.-]*):\/\//i.exec(seed)?.[1]
  if (scheme === undefined) return seed === '' ? 'empty' : 'without a scheme'
  if (!['redis', 'rediss', 'unix'].includes(scheme)) return `of the scheme ${scheme}`
  const url = URL.parse(seed)
  if (url === null) return 'an address that cannot be read: look at its host and port, and at signs in its password that must be percent-encoded'
  if (!isDecodable(url)) return 'an address whose user or password has a % that is not followed by two hexadecimal digits'
  if (url.hash !== '') return 'an address with a #: in a password it is written %23'
  if (scheme === 'unix') return url.pathname.length > 1 ? undefined : 'without the path of a socket'
  if (url.hostname === '') return 'without a host'
  return /^(\/\d{0,4})?$/.test(url.pathname) ? undefined : 'an address whose database is not a number'
}

/** A Cluster's nodes share user, password and encryption, and have one database. */
function clusterFault (seeds: readonly string[]): RedisUrlFault | undefined {
  const urls = seeds.map((seed) => new URL(seed))
  if (urls.some(({ protocol }) => protocol === 'unix:')) return { wanted, came: 'a list with a unix socket in it' }
  if (new Set(urls.map(({ protocol }) => protocol)).size > 1) return { wanted, came: 'a list that mixes redis:// and rediss://' }
  if (new Set(urls.map(({ username, password }) => `${username}:${password}`)).size > 1) return { wanted, came: 'a list with more than one user or password' }
  return urls.some(({ pathname }) => /[1-9]/.test(pathname)) ? { wanted, came: 'a list with a database other than 0, which a Cluster does not have' } : undefined
}

function isDecodable ({ username, password, pathname }: URL): boolean {
  try {
    decodeURIComponent(username + password + pathname)
    return true
  } catch {
    return false
  }
}
