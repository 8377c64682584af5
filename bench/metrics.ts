import { mkdtemp, rm } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { hasWrk, makeLoad, writeLines } from './load.ts'
import { withOwner } from './owner.ts'
import { startServer } from './server.ts'
import type { Report } from './servers/measured.ts'
import { median } from './interleaved/statistics.ts'

// Cost of metrics: the whole stack with and without metrics, on cached responses. Target: at most 3 % of a request's CPU.
//
// Two processes are never compiled alike, and a machine's speed changes by the second: both differ by more than the measured effect. So both
// run in one process in turns of 25 ms under one load, in pairs of random order; each turn pays for its own garbage collection.
// Work per time and not per request, the sampling of Redis every 5 s, is measured separately.
const processes = Number(process.env.BENCH_PROCESSES ?? 8)
const seconds = Number(process.env.BENCH_SECONDS ?? 30)
const connections = 50
const lookEverySeconds = 5
const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64']
const lines = Array.from({ length: 1000 }, (_, index) => ({ path: `/items/${index}`, address: `10.1.${index >> 8}.${index & 255}` }))

async function measure (file: string): Promise<Report> {
  return await withOwner(async (owner) => {
    const redis = await startRedisProcess(owner)
    const server = await startServer('measured', { REDIS_URL: redis.url }, flags)
    owner.after(() => server.stop())
    const load = { url: server.url, file, lines, connections }
    await makeLoad({ ...load, seconds: 4 }) // compiled, and all stored
    server.tell('begin')
    await makeLoad({ ...load, seconds })
    server.tell('report')
    return await server.hear<Report>()
  })
}

/** The 95 % confidence interval of the median, by resampling. */
function confidence (all: readonly number[]): readonly [low: number, high: number] {
  const medians = Array.from({ length: 1000 }, () => median(all.map(() => all[Math.floor(Math.random() * all.length)] ?? NaN))).sort((one, other) => one - other)
  return [medians[25] ?? NaN, medians[974] ?? NaN]
}

/** Cost per request in microseconds, turn by turn; turns in which the load began or ended are omitted. */
function costsOf ({ turns }: Report): { off: number, on: number }[] {
  const usual = median(turns.map(({ requests }) => requests))
  return turns.flatMap((turn, index) => {
    const other = turns[index + 1]
    if (index % 2 === 1 || other === undefined || Math.min(turn.requests, other.requests) < usual / 3) return []
    const [off, on] = turn.isOn ? [other, turn] : [turn, other]
    return [{ off: off.microseconds / off.requests, on: on.microseconds / on.requests }]
  })
}

await withOwner(async (owner) => {
  const folder = await mkdtemp(join(tmpdir(), 'prism-bench-'))
  owner.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'lines')
  await writeLines(file, lines)
  const reports: Report[] = []
  for (let index = 0; index < processes; index++) reports.push(await measure(file))

  const costs = reports.flatMap(costsOf)
  const added = (pairs: ReturnType<typeof costsOf>) => pairs.map(({ off, on }) => (on / off - 1) * 100)
  const [counting, off, look] = [median(added(costs)), median(costs.map((each) => each.off)), median(reports.map((report) => report.look))]
  const looking = look / (lookEverySeconds * 1_000_000) * 100
  const [low, high] = confidence(added(costs))
  console.log(`Node ${process.version}, ${hasWrk ? 'wrk' : 'autocannon'}, ${connections} connections, ${processes} processes, ${costs.length} pairs of turns, load average ${loadavg()[0]?.toFixed(1)}\n`)
  console.log('| what | CPU | share |\n|---|---:|---:|')
  console.log(`| a request without metrics | ${off.toFixed(1)} µs | |`)
  console.log(`| counting it | ${(off * counting / 100).toFixed(2)} µs | ${counting.toFixed(1)} % of that (95 %: ${low.toFixed(1)} to ${high.toFixed(1)}) |`)
  console.log(`| a sample of Redis, every ${lookEverySeconds} s | ${(look / 1000).toFixed(1)} ms | ${looking.toFixed(2)} % of a core |`)
  console.log(`\nMetrics add ${(counting + looking).toFixed(1)} % to a process that is fully used (each of the processes: ${reports.map((report) => median(added(costsOf(report))).toFixed(1)).join(', ')}); the target is 3 %.`)
})
