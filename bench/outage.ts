/**
 * A minute without Redis under load: memory cost, and calls that stay unsettled.
 *
 * `node bench/outage.ts [seconds [fault]]`; exits with 1 if memory grows, a call waits longer than 250 ms, or a rejection is unhandled.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { faults, startRig } from '../test/support/faults.ts'
import { Load } from '../test/support/load.ts'
import { withOwner } from './owner.ts'
import { appTarget, poolTarget } from './targets.ts'

const rate = 500
const settleMs = 5000
/** Allowed difference of the heap between two measurements. */
const toleranceBytes = 4_000_000

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

let unhandled = 0
process.on('unhandledRejection', (reason) => {
  unhandled += 1
  console.error('unhandled rejection:', reason)
})

const [seconds = '60', name = 'blackHole'] = process.argv.slice(2)
const isFine = await withOwner(async (owner) => {
  const rig = await startRig(owner)
  const targets = [await poolTarget(owner, rig.url), await appTarget(owner, rig.url)]
  await Promise.all(targets.map(({ warmUp }) => warmUp()))
  const fault = faults[name as keyof typeof faults]
  await fault.inject(rig, Number(seconds) * 1000)
  const early = await heapAfter(targets, settleMs)
  const late = await heapAfter(targets, Number(seconds) * 1000 - settleMs)
  await fault.heal(rig)
  const grownBytes = late.bytes - early.bytes
  console.log(`${seconds} s of ${name} at ${2 * rate} calls a second: heap ${shown(early.bytes)} after ${settleMs / 1000} s, ${shown(late.bytes)} at the end; ${late.calls} calls, ${late.waiting} unsettled, longest wait ${Math.round(late.waitMs)} ms; ${unhandled} unhandled rejections`)
  return grownBytes < toleranceBytes && late.waiting === 0 && late.waitMs <= 250 && unhandled === 0
})
process.exit(isFine ? 0 : 1)

/** The heap after this time under load, once all calls have had time to settle. */
async function heapAfter (targets: Awaited<ReturnType<typeof poolTarget>>[], ms: number): Promise<{ bytes: number, calls: number, waiting: number, waitMs: number }> {
  const loads = targets.map(({ call }) => new Load({ rate, call }))
  await sleep(ms)
  for (const load of loads) load.stop()
  await sleep(300)
  const sum = (of: (load: Load) => number) => loads.reduce((total, load) => total + of(load), 0)
  const figures = { calls: sum((load) => load.samples.length), waiting: sum((load) => load.count('waiting')), waitMs: Math.max(...loads.map((load) => load.longestWaitMs())) }
  for (const load of loads) load.samples.length = 0
  collectGarbage()
  return { ...figures, bytes: process.memoryUsage().heapUsed }
}

function shown (bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
