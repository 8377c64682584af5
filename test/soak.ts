/**
 * `npm run soak [fields] [events] [memory] [properties] [attack]`: a million blocks of header fields for the cache (about four minutes), two
 * minutes of faults for events, 10,000 random calls of each Lua script in memory and in Redis (about three minutes), every property test with
 * ten times the runs of `npm test`, and a service with a heap of 256 MB under attack (about ten minutes); all of them if none is named.
 *
 * Exits with 1 if anything was lost, duplicated or out of order, stored against a prohibition, different in memory, or crashed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, readFileSync } from 'node:fs'
import { attack } from './support/attack/attack.ts'
import type { Owner } from './support/cleanup-scope.ts'
import { faultsOf, soak } from './support/soak.ts'

const usage = `Usage: npm run soak [fields] [events] [memory] [properties] [attack]

  fields      a million blocks of header fields for the cache; SOAK_RUNS=n for another number
  events      three processes on a Redis that fails, for two minutes
  memory      each Lua script in memory and in Redis: MEMORY_CALLS=n random calls (10000), MEMORY_SEED=n
  properties  every property test with ten times the runs of npm test; SOAK_FACTOR=n for another factor
  attack      fuzz, hostile headers and floods against the service; SOAK_REQUESTS=n requests of fuzz (50000), SOAK_SEED=n

Without a name all of them run.`

const parts: Readonly<Record<string, (owner: Owner) => Promise<boolean>>> = { fields: readFields, events: soakEvents, memory: compareMemory, properties: checkProperties, attack: attackService }
const root = `${import.meta.dirname}/..`
const note = (text: string) => console.log(`${new Date().toISOString()} ${text}`)

const chosen = process.argv.slice(2)
const unknown = chosen.filter((name) => !Object.hasOwn(parts, name))
if (unknown.length > 0) {
  const isHelp = unknown.every((name) => name === '--help' || name === '-h')
  console.log(isHelp ? usage : `There is no ${unknown.join(', ')}.\n\n${usage}`)
  process.exit(isHelp ? 0 : 1)
}

let isFine = true
for (const [name, run] of Object.entries(parts)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  const ends: (() => Promise<void> | void)[] = []
  isFine = await run({ after: (end) => ends.unshift(end) }) && isFine
  for (const end of ends) await end()
}
process.exit(isFine ? 0 : 1)

/** The cache's property test with `SOAK_RUNS` runs. */
async function readFields (): Promise<boolean> {
  const SOAK_RUNS = process.env.SOAK_RUNS ?? '1000000'
  note(`${SOAK_RUNS} blocks of header fields`)
  return await runTest('test/unit/cache/response/cacheability.test.ts', { SOAK_RUNS })
}

/** Every Lua script of the package, `MEMORY_CALLS` random calls in `redis: 'memory'` and in a real Redis: 0 differences. */
async function compareMemory (): Promise<boolean> {
  const MEMORY_CALLS = process.env.MEMORY_CALLS ?? '10000'
  note(`${MEMORY_CALLS} calls of each Lua script, in memory and in Redis`)
  return await runTest('test/property/memory-scripts.test.ts', { MEMORY_CALLS, TAP_TIMEOUT: '0' })
}

/** The files whose number of runs `SOAK_FACTOR` multiplies, one after the other. */
async function checkProperties (): Promise<boolean> {
  const SOAK_FACTOR = process.env.SOAK_FACTOR ?? '10'
  const files = globSync('test/**/*.test.ts', { cwd: root }).filter((file) => /SOAK_FACTOR|propertyRuns/.test(readFileSync(`${root}/${file}`, 'utf8'))).sort()
  const failed: string[] = []
  for (const file of files) {
    note(`${file}, ${SOAK_FACTOR} times as many runs`)
    if (!await runTest(file, { SOAK_FACTOR, TAP_TIMEOUT: '0' })) failed.push(file)
  }
  note(`${failed.length} of ${files.length} files failed ${failed.join(' ')}`)
  return failed.length === 0
}

async function runTest (file: string, env: Record<string, string>): Promise<boolean> {
  const child = spawn(process.execPath, [file], { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } })
  const [code] = await once(child, 'exit')
  return code === 0
}

async function soakEvents (owner: Owner): Promise<boolean> {
  note('3 processes, 500 events a second, 120 s; 20 killed connections, 5 half open, Redis stopped twice; then the log is lost in every way')
  const { reports, resets } = await soak(owner, { seconds: 120, perSecond: 500, kills: 20, halfOpens: 5, stops: 2, stopMs: 3000, note })
  const acked = new Set(reports.flatMap((report) => report.acked))
  const faults = reports.flatMap((report) => faultsOf(report, acked))
  for (const { told, acked, failed, rssBytes } of reports) note(`told ${told.length}, published ${acked.length}, of which Redis did not confirm ${failed}, ${Math.round(rssBytes / 2 ** 20)} MiB`)
  note(`${faults.length} faults; resets ${JSON.stringify(resets)}`)
  for (const fault of faults.slice(0, 20)) note(fault)
  return faults.length === 0 && resets['in all']?.every((count) => count === 4) === true
}

async function attackService (owner: Owner): Promise<boolean> {
  return await attack(owner, { requests: Number(process.env.SOAK_REQUESTS ?? 50_000), seed: Number(process.env.SOAK_SEED ?? Math.floor(Math.random() * 2 ** 31)), note })
}
