import { mkdtemp, rm } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedisProcess } from '../test/helpers/redis-process.ts'
import { hasWrk, makeLoad, writeLines } from './load.ts'
import { withOwner } from './owner.ts'
import type { Owner } from '../test/helpers/owner.ts'
import { startServer } from './server.ts'

// What counting costs: the whole stack with metrics and without, in turn, on cached answers. The mark: at most 3 % of a request's CPU.
const rounds = Number(process.env.BENCH_ROUNDS ?? 9)
const seconds = Number(process.env.BENCH_SECONDS ?? 4)
const connections = 50
const lines = Array.from({ length: 1000 }, (_, index) => ({ path: `/items/${index}`, address: `10.1.${index >> 8}.${index & 255}` }))

/** Microseconds of the server's CPU that a request takes. */
async function measure (METRICS: string, file: string, owner: Owner): Promise<number> {
  const redis = await startRedisProcess(owner)
  const server = await startServer('measured', { METRICS, REDIS_URL: redis.url })
  const load = { url: server.url, file, lines, connections }
  await makeLoad({ ...load, seconds: 3 }) // compiled, and all stored
  const before = server.cpuMicroseconds
  const { requests } = await makeLoad({ ...load, seconds })
  const cost = (server.cpuMicroseconds - before) / requests
  server.stop()
  await redis.kill()
  return cost
}

function median (all: readonly number[]): number {
  return all.toSorted((one, other) => one - other)[all.length >> 1] ?? NaN
}

await withOwner(async (owner) => {
  const folder = await mkdtemp(join(tmpdir(), 'prism-bench-'))
  owner.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'lines')
  await writeLines(file, lines)
  const seen: Record<'on' | 'off', number[]> = { on: [], off: [] }
  for (let round = 0; round < rounds; round++) {
    // Whoever is measured second finds a warmer machine: they take turns.
    for (const state of round % 2 === 0 ? ['off', 'on'] as const : ['on', 'off'] as const) seen[state].push(await measure(state, file, owner))
  }
  const added = median(seen.on.map((cost, round) => cost / (seen.off[round] ?? NaN) - 1)) * 100
  console.log(`Node ${process.version}, ${hasWrk ? 'wrk' : 'autocannon'}, ${connections} connections, medians of ${rounds} rounds of ${seconds} s, load average ${loadavg()[0]?.toFixed(1)}\n`)
  console.log('| metrics | CPU µs a request | all rounds |\n|---|---:|---|')
  for (const state of ['off', 'on'] as const) console.log(`| ${state} | ${median(seen[state]).toFixed(1)} | ${seen[state].map((cost) => cost.toFixed(1)).join(', ')} |`)
  console.log(`\nMetrics add ${added.toFixed(1)} % (median of the rounds' ratios); the mark is 3 %.`)
})
