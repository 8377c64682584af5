import type { Line } from '../load.ts'

/** A server under test, and the cookies of its users; none if the workload has no users. */
export interface Target { readonly url: string, readonly cookies: readonly string[] }

/** The requests to every server. */
export interface Workload {
  readonly name: string
  readonly title: string
  readonly connections: number
  /** delay of every Redis reply in milliseconds */
  readonly redisDelayMs: number
  readonly hasUsers: boolean
  /** each line is requested once before the warm-up: what the first request of a URL or a user costs is not measured */
  readonly isKnown: boolean
  /** all responses are rejections */
  readonly isRefused: boolean
  /** latency is measured too */
  readonly hasLatency: boolean
  lines (target: Target): Line[] | Promise<Line[]>
}

export const users = 10_000
const urls = 1000
const plain = { connections: 50, redisDelayMs: 0, hasUsers: false, isKnown: true, isRefused: false, hasLatency: false }
const codings = { plain: undefined, gzip: ['Accept-Encoding', 'gzip'], br: ['Accept-Encoding', 'br'] } as const
const bodies = { '0.2k': 200, '2k': 2000, '10k': 10_000, '100k': 100_000 }
const stored = { '1k': 1000, '10k': 10_000, '100k': 100_000, '1m': 1_000_000 }

/** The workloads of `npm run bench` without a name. */
export const mainWorkloads = ['hot', 'many', 'misses', 'refused', 'far']

/** The workloads, in the order of the table. */
export const workloads: readonly Workload[] = [
  { ...plain, name: 'hot', title: 'one URL', lines: () => [{ path: '/items/1' }] },
  { ...plain, name: 'many', title: '10,000 signed-in users, 1,000 URLs', hasUsers: true, lines: manyUsers },
  { ...plain, name: 'misses', title: 'URLs that were never requested', isKnown: false, lines: neverRequested },
  { ...plain, name: 'refused', title: 'a client above its limit', isRefused: true, lines: () => [{ path: '/limited', address: '10.9.9.9' }] },
  { ...plain, name: 'far', title: 'many, with Redis 10 ms away', hasUsers: true, connections: 20, redisDelayMs: 10, hasLatency: true, lines: manyUsers },
  ...Object.entries(bodies).flatMap(([size, bytes]) => Object.entries(codings).map(([coding, field]): Workload => ({ ...plain, name: `body-${size}-${coding}`, title: `a body of ${bytes / 1000} kB, ${coding === 'plain' ? 'no Accept-Encoding' : `Accept-Encoding: ${coding}`}`, lines: () => [{ path: `/bodies/${bytes}/1`, ...(field === undefined ? {} : { field }) }] }))),
  ...[1, 1000].map((connections): Workload => ({ ...plain, name: `connections-${connections}`, title: `many, over ${connections} connections`, hasUsers: true, connections, hasLatency: true, lines: manyUsers })),
  ...Object.entries(stored).map(([size, count]): Workload => ({ ...plain, name: `keys-${size}`, title: `${count} stored URLs of 0.2 kB, equally popular`, lines: () => equallyPopular(count) })),
  { ...plain, name: 'single', title: 'one URL over one connection, with latency', connections: 1, hasLatency: true, lines: () => [{ path: '/items/1' }] },
  { ...plain, name: 'tagged', title: '1,000 URLs with a tag', lines: () => Array.from({ length: urls }, (_, index) => ({ path: `/tagged/${index}` })) },
  { ...plain, name: 'varied', title: '1,000 URLs that vary by language', lines: () => Array.from({ length: urls }, (_, index) => ({ path: `/varied/${index}`, field: ['Accept-Language', 'de'] })) },
  { ...plain, name: 'validated', title: 'one URL that the client has', lines: async ({ url }) => [{ path: '/items/1', field: ['If-None-Match', await entityTagOf(`${url}/items/1`)] }] }
]

let unique = 0

/** URLs that were never requested. */
function neverRequested (): Line[] {
  return Array.from({ length: 300_000 }, (_, index) => ({ path: `/items/m${++unique}-${index}`, address: addressOf(index % users) }))
}

/** 10,000 signed-in users at as many addresses request 1,000 URLs with Zipf's popularity: the n-th is requested 1/n as often as the first. */
function manyUsers ({ cookies }: Target): Line[] {
  return Array.from({ length: 60_000 }, (_, index) => {
    const user = Math.floor(random(index * 2) * users)
    return { path: `/items/${zipf(random(index * 2 + 1))}`, address: addressOf(user), cookie: cookies[user] ?? '' }
  })
}

/** Neighbours in the list are not neighbours in Redis: the step has no factor in common with the counts. */
function equallyPopular (count: number): Line[] {
  return Array.from({ length: count }, (_, index) => ({ path: `/bodies/200/${(index * 7919) % count}` }))
}

async function entityTagOf (url: string): Promise<string> {
  return (await fetch(url)).headers.get('etag') ?? '"none"'
}

export function addressOf (user: number): string {
  return `10.${user >> 16 & 255}.${user >> 8 & 255}.${user & 255}`
}

const harmonic: number[] = []
for (let index = 0; index < urls; index++) harmonic.push((harmonic.at(-1) ?? 0) + 1 / (index + 1))

function zipf (share: number): number {
  const wanted = share * (harmonic.at(-1) ?? 1)
  return harmonic.findIndex((sum) => sum >= wanted) + 1
}

/** The same for every run and server: a hash of the index, from 0 to 1. */
function random (index: number): number {
  let hash = Math.imul(index + 1, 0x9E3779B1)
  hash = Math.imul(hash ^ hash >>> 15, 0x85EBCA6B)
  hash = Math.imul(hash ^ hash >>> 13, 0xC2B2AE35)
  return ((hash ^ hash >>> 16) >>> 0) / 2 ** 32
}
