/**
 * The cost of each Redis or network fault for callers: the longest wait of 100 calls a second, and the time until all calls succeed again.
 *
 * `npm run bench:faults [fault …]`; exits with 1 if a wait exceeds 250 ms, a recovery 1 s, or a rejection is unhandled.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { faults, startRig } from '../test/support/faults.ts'
import type { Fault, Rig } from '../test/support/faults.ts'
import { Load } from '../test/support/load.ts'
import { appTarget, poolTarget } from './targets.ts'
import type { Target } from './targets.ts'
import { withOwner } from './owner.ts'

const rate = 100
const warmUpMs = 500
const lastsMs = 1500
const watchMs = 1500
const rounds = 3
const limits = { waitMs: 250, recoveryMs: 1000 }

/** The cost of one fault for one kind of caller, in milliseconds. */
interface Cost { waitMs: number, recoveryMs: number, failed: number }

/** The greatest delay of this process's timers since a fault was injected, on a busy machine. */
const lateness = monitorEventLoopDelay({ resolution: 5 })
lateness.enable()

let unhandled = 0
process.on('unhandledRejection', (reason) => {
  unhandled += 1
  console.error('unhandled rejection:', reason)
})

const chosen = process.argv.slice(2)
const names = Object.keys(faults).filter((name) => chosen.length === 0 || chosen.includes(name)) as (keyof typeof faults)[]
console.log(`${rate} calls a second; the fault lasts ${lastsMs} ms; limits ${limits.waitMs} ms to wait, ${limits.recoveryMs} ms to recover; up to ${rounds} rounds where one is above, and then the median`)
console.log(['fault'.padEnd(20), 'pool: wait', 'recovery', 'failed', ' app: wait', 'recovery', 'degraded'].join('  '))
let isFine = true
for (const name of names) isFine = await show(name) && isFine
if (unhandled > 0) console.log(`${unhandled} unhandled rejections`)
process.exit(isFine && unhandled === 0 ? 0 : 1)

async function show (name: keyof typeof faults): Promise<boolean> {
  const costs = [await measure(faults[name])]
  while (costs.length < rounds && !isWithin(median(costs))) costs.push(await measure(faults[name]))
  const [pool, app] = median(costs)
  const cells = [pool, app].flatMap((cost) => cost === undefined ? [] : [shown(cost.waitMs), shown(cost.recoveryMs), String(cost.failed)])
  const within = isWithin(median(costs))
  console.log([name.padEnd(20), ...cells.map((cell, index) => cell.padStart([10, 8, 6, 10, 8, 8][index] ?? 8)), within ? '' : `above, in ${costs.length} rounds; this process was late by up to ${Math.round(lateness.max / 1e6)} ms`].join('  '))
  return within
}

/** Both kinds of caller during one fault, each with its own pool. */
function measure (fault: Fault): Promise<Cost[]> {
  return withOwner(async (owner) => {
    const rig = await startRig(owner)
    const targets = [await poolTarget(owner, rig.url), await appTarget(owner, rig.url)]
    await Promise.all(targets.map(({ warmUp }) => warmUp()))
    return await endure(rig, fault, targets)
  })
}

async function endure (rig: Rig, fault: Fault, targets: readonly Target[]): Promise<Cost[]> {
  const loads = targets.map(({ call }) => new Load({ rate, call }))
  await sleep(warmUpMs)
  const injectedAt = performance.now()
  lateness.reset()
  await fault.inject(rig, lastsMs)
  await sleep(injectedAt + lastsMs - performance.now())
  await fault.heal(rig)
  const healedAt = performance.now()
  await sleep(watchMs)
  for (const load of loads) load.stop()
  await sleep(limits.waitMs)
  return loads.map((load) => ({
    waitMs: load.longestWaitMs(injectedAt),
    recoveryMs: load.recoveryMs(healedAt) ?? Infinity,
    failed: load.count('failed', injectedAt)
  }))
}

function isWithin (costs: readonly Cost[]): boolean {
  return costs.every(({ waitMs, recoveryMs }) => waitMs <= limits.waitMs && recoveryMs <= limits.recoveryMs)
}

function median (rounds: readonly Cost[][]): Cost[] {
  const of = (index: number, figure: keyof Cost) => rounds.map((costs) => costs[index]?.[figure] ?? Infinity).sort((one, other) => one - other)[Math.floor(rounds.length / 2)] ?? Infinity
  return [0, 1].map((index) => ({ waitMs: of(index, 'waitMs'), recoveryMs: of(index, 'recoveryMs'), failed: of(index, 'failed') }))
}

function shown (ms: number): string {
  return ms === Infinity ? 'never' : `${Math.round(ms)} ms`
}
