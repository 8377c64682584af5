/**
 * `npm run soak [events | fields]`: two minutes of the worst for events, and a million blocks of header fields for the cache, about four minutes.
 * Exits with 1 when anything was lost, doubled or out of order, or kept that must not be.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { faultsOf, soak } from './helpers/soak.ts'

const chosen = process.argv.slice(2)
const isChosen = (part: string) => chosen.length === 0 || chosen.includes(part)
const areFieldsFine = isChosen('fields') ? await readFields() : true
if (!isChosen('events')) process.exit(areFieldsFine ? 0 : 1)

/** The cache's property test, as often as `SOAK_RUNS` says. */
async function readFields (): Promise<boolean> {
  const runs = process.env.SOAK_RUNS ?? '1000000'
  console.log(`${new Date().toISOString()} ${runs} blocks of header fields`)
  const child = spawn(process.execPath, ['test/src/cache/storing.test.ts'], { cwd: `${import.meta.dirname}/..`, stdio: 'inherit', env: { ...process.env, SOAK_RUNS: runs } })
  const [code] = await once(child, 'exit')
  return code === 0
}

const ends: (() => Promise<void> | void)[] = []
const note = (text: string) => console.log(`${new Date().toISOString()} ${text}`)

note('3 processes, 500 events a second, 120 s; 20 killed connections, 5 half open, Redis stopped twice; then the log is lost in every way')
const { reports, resets } = await soak({ after: (end) => ends.unshift(end) }, { seconds: 120, perSecond: 500, kills: 20, halfOpens: 5, stops: 2, stopMs: 3000, note })
for (const end of ends) await end()

const acked = new Set(reports.flatMap((report) => report.acked))
const faults = reports.flatMap((report) => faultsOf(report, acked))
for (const { told, acked, failed, rssBytes } of reports) note(`told ${told.length}, published ${acked.length}, of which Redis did not confirm ${failed}, ${Math.round(rssBytes / 2 ** 20)} MiB`)
note(`${faults.length} faults; resets ${JSON.stringify(resets)}`)
for (const fault of faults.slice(0, 20)) note(fault)
process.exit(areFieldsFine && faults.length === 0 && resets['in all']?.every((count) => count === 4) ? 0 : 1)
