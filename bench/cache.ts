import { mkdtemp, rm } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { hasWrk, makeLoad, writeLines } from './load.ts'
import type { Line } from './load.ts'
import { withOwner } from './owner.ts'
import { cpuMicrosecondsOf, startServer } from './server.ts'
import type { Server } from './server.ts'

// Cost of a hit, a miss and a 304, compared with the same routes of bare Fastify, in one run; `node bench/cache.ts [workload …]`.
const rounds = Number(process.env.BENCH_ROUNDS ?? 3)
const seconds = Number(process.env.BENCH_SECONDS ?? 3)
const connections = 50
const chosen = process.argv.slice(2)

interface Workload { name: string, lines: (server: Server) => Promise<Line[]> | Line[] }
interface Figures { cpu: number, redisCpu: number, trips: number, requests: number, p50Ms: number, p99Ms: number }
interface Peer { server: Server, redis: { pid: number, control: Redis } }

let asked = 0
const many = (path: string, count: number, more: Partial<Line> = {}): Line[] => Array.from({ length: count }, (_, index) => ({ path: `${path}/${index}`, ...more }))

const workloads: Workload[] = [
  { name: 'hit, 1 URL', lines: () => [{ path: '/items/1' }] },
  { name: 'hit, 1,000 URLs', lines: () => many('/items', 1000) },
  { name: 'hit, 1,000 URLs, a tag', lines: () => many('/tagged', 1000) },
  { name: 'hit, 10 kB as br', lines: () => [{ path: '/large', field: ['Accept-Encoding', 'br'] }] },
  { name: 'hit, 10 kB, plain from br', lines: () => [{ path: '/large' }] },
  { name: 'hit, 1,000 URLs that vary', lines: () => many('/varied', 1000, { field: ['Accept-Language', 'de'] }) },
  { name: '304, 1 URL', lines: async ({ url }) => [{ path: '/items/1', field: ['If-None-Match', await tagOf(`${url}/items/1`)] }] },
  { name: 'miss', lines: neverAsked }
]

/** URLs that no earlier round has requested. */
function neverAsked (): Line[] {
  asked += 1
  return Array.from({ length: 400_000 }, (_, index) => ({ path: `/items/m${asked}-${index}` }))
}

async function tagOf (url: string): Promise<string> {
  return (await fetch(url)).headers.get('etag') ?? '"none"'
}

async function measure ({ server, redis }: Peer, workload: Workload, file: string): Promise<Figures> {
  const lines = await workload.lines(server)
  await writeLines(file, lines)
  const load = { url: server.url, file, lines, connections }
  await makeLoad({ ...load, seconds: 1 })
  const before = await look(server, redis)
  const { requests, p50Ms, p99Ms } = await makeLoad({ ...load, seconds })
  const after = await look(server, redis)
  const each = (name: keyof typeof before) => (after[name] - before[name]) / requests
  return { cpu: each('cpu'), redisCpu: each('redisCpu'), trips: each('trips'), requests, p50Ms, p99Ms }
}

async function look (server: Server, { pid, control }: Peer['redis']): Promise<Pick<Figures, 'cpu' | 'redisCpu' | 'trips'>> {
  const info = await control.info('stats')
  return { cpu: server.cpuMicroseconds, redisCpu: cpuMicrosecondsOf(pid), trips: Number(/total_reads_processed:(\d+)/.exec(info)?.[1]) }
}

function median (all: readonly number[]): number {
  return all.toSorted((one, other) => one - other)[all.length >> 1] ?? NaN
}

await withOwner(async (owner) => {
  const folder = await mkdtemp(join(tmpdir(), 'prism-bench-'))
  owner.after(() => rm(folder, { recursive: true, force: true }))
  const peers: Peer[] = []
  for (const kind of ['none', 'prism']) {
    const redis = await startRedisProcess(owner)
    const server = await startServer('cached', { CACHE: kind, REDIS_URL: redis.url })
    const control = new Redis(redis.url)
    owner.after(() => { server.stop(); control.disconnect() })
    peers.push({ server, redis: { pid: redis.pid, control } })
  }

  console.log(`Node ${process.version}, ${hasWrk ? 'wrk' : 'autocannon'}, ${connections} connections, medians of ${rounds} rounds of ${seconds} s, load average ${loadavg()[0]?.toFixed(1)}; CPU in microseconds a request\n`)
  console.log('| workload | CPU, bare Fastify | CPU, cached | above bare | Redis CPU | Redis round trips | requests/s | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|')
  for (const workload of workloads.filter(({ name }) => chosen.length === 0 || chosen.some((each) => name.startsWith(each)))) {
    const seen: Figures[][] = peers.map(() => [])
    for (let round = 0; round < rounds; round++) {
      for (const [index, peer] of peers.entries()) seen[index]?.push(await measure(peer, workload, join(folder, 'lines')))
    }
    const [bare, cached] = seen.map((figures) => (name: keyof Figures) => median(figures.map((each) => each[name])))
    if (bare === undefined || cached === undefined) continue
    const cells = [bare('cpu'), cached('cpu'), cached('cpu') - bare('cpu'), cached('redisCpu')].map((figure) => figure.toFixed(1))
    console.log(`| ${[workload.name, ...cells, cached('trips').toFixed(3), Math.round(cached('requests') / seconds), cached('p50Ms').toFixed(2), cached('p99Ms').toFixed(2)].join(' | ')} |`)
  }
})
