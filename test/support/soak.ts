import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Owner } from './cleanup-scope.ts'
import { startProxy } from './proxy.ts'
import type { Proxy } from './proxy.ts'
import { startRig } from './proxied-redis.ts'
import type { Rig } from './proxied-redis.ts'
import { until } from './until.ts'

/** Observations of one process of a soak. */
export interface Report {
  told: { what: 'begin' | 'event' | 'reset', id: string, prev?: string }[]
  /** IDs of the events that Redis confirmed to it */
  acked: string[]
  /** failed publications; some have arrived */
  failed: number
  rssBytes: number
}

interface Count {
  events: number
  resets: number
  last: string | undefined
  inFlight: number
}

interface Runner {
  child: ChildProcess
  proxy: Proxy
}

/** Load of a soak. */
export interface SoakOptions {
  seconds: number
  /** events per second of all processes together */
  perSecond: number
  kills: number
  halfOpens: number
  stops: number
  /** duration of a hang of Redis */
  stopMs: number
  note: (text: string) => void
}

/** Result of a soak. */
export interface SoakResult {
  reports: Report[]
  /** resets that each process received, by cause of the loss */
  resets: Record<string, number[]>
}

const processes = 3

/** Runs three processes that publish and subscribe while connections die or hang half open and Redis stops; then loses the log in every way. */
export async function soak (owner: Owner, options: SoakOptions): Promise<SoakResult> {
  const rig = await startRig(owner)
  const runners = await Promise.all(Array.from({ length: processes }, () => startRunner(owner, rig, options.perSecond / processes)))
  await harm(rig, runners, options)
  await level(runners)
  options.note(`${(await counts(runners)).map(({ events }) => events).join(', ')} events, no loss of the log yet`)

  const resets: SoakResult['resets'] = {}
  for (const [what, lose] of Object.entries(losses)) {
    const before = await counts(runners)
    await lose(rig, runners)
    await until(async () => (await counts(runners)).every(({ resets }, index) => resets > (before[index]?.resets ?? 0)), { what: `everybody is told: ${what}`, deadlineMs: 30_000 })
    resets[what] = (await counts(runners)).map(({ resets }, index) => resets - (before[index]?.resets ?? 0))
    options.note(`${what}: ${resets[what]?.join(', ')} resets`)
  }

  // Superfluous resets would come with the next check of positions.
  await pause(6000)
  resets['in all'] = (await counts(runners)).map(({ resets }) => resets)
  for (const { child } of runners) child.send('stop')
  await level(runners)
  const reports = await Promise.all(runners.map(({ child }) => sendOrder<Report>(child, 'report')))
  return { reports, resets }
}

async function startRunner (owner: Owner, rig: Rig, perSecond: number): Promise<Runner> {
  const proxy = await startProxy(owner, rig.redis)
  const child = fork(join(import.meta.dirname, 'soak-process.ts'), [proxy.url, String(perSecond)])
  owner.after(() => { child.kill('SIGKILL') })
  await once(child, 'message')
  return { child, proxy }
}

/** Spreads the faults over the time. */
async function harm (rig: Rig, runners: readonly Runner[], { seconds, kills, halfOpens, stops, stopMs }: SoakOptions): Promise<void> {
  const endAt = performance.now() + seconds * 1000
  const order = [...Array<'kill'>(kills).fill('kill'), ...Array<'halfOpen'>(halfOpens).fill('halfOpen'), ...Array<'stop'>(stops).fill('stop')]
    .map((what, index) => ({ what, at: ((index * 7919) % 101) / 101 }))
    .sort((one, other) => one.at - other.at)
  const startAt = performance.now()
  for (const { what, at } of order) {
    await pause(Math.max(0, startAt + at * seconds * 1000 - performance.now()))
    const runner = runners[Math.floor(Math.random() * runners.length)]
    if (what === 'kill') await rig.control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    else if (what === 'halfOpen') {
      await runner?.proxy.fault('halfOpen')
      await runner?.proxy.heal()
    } else await hang(rig, stopMs)
  }
  await pause(Math.max(0, endAt - performance.now()))
}

async function hang ({ redis, control }: Rig, ms: number): Promise<void> {
  redis.signal('SIGSTOP')
  await pause(ms)
  redis.signal('SIGCONT')
  await control.ping()
}

const losses: Record<string, (rig: Rig, runners: readonly Runner[]) => Promise<unknown>> = {
  'FLUSHALL took the log': ({ control }) => control.flushall(),
  'eviction took the log': ({ control }) => control.unlink('prism:soak:log'),
  'Redis was killed and came back empty': ({ redis }) => redis.restart(),
  'the log was trimmed while all were disconnected': async ({ control }, runners) => {
    for (const { proxy } of runners) await proxy.fault('halfOpen')
    await until(async () => await control.xlen('prism:soak:log') > 1000, { what: 'events that no process has received' }).catch(() => {})
    await control.xtrim('prism:soak:log', 'MAXLEN', 0)
    for (const { proxy } of runners) await proxy.heal()
  }
}

/** Waits until all have received the same last ID although publication continues. */
async function level (runners: readonly Runner[]): Promise<void> {
  await until(async () => {
    const all = await counts(runners)
    return all.every(({ last, inFlight }) => last === all[0]?.last && inFlight === 0) || all.every(({ last }) => last !== undefined && near(last, all[0]?.last))
  }, { what: 'all processes are level', deadlineMs: 30_000 })
}

function near (one: string, other = ''): boolean {
  return Math.abs(Number(one.split('-')[0]) - Number(other.split('-')[0])) < 1000
}

async function counts (runners: readonly Runner[]): Promise<Count[]> {
  return await Promise.all(runners.map(({ child }) => sendOrder<Count>(child, 'count')))
}

async function sendOrder<Reply> (child: ChildProcess, order: string): Promise<Reply> {
  const reply = once(child, 'message')
  child.send(order)
  const [message] = await reply
  return message
}

/** Violations in the observations of a process, given all confirmed events: none, or sentences. */
export function faultsOf ({ told }: Report, acked: ReadonlySet<string>): string[] {
  const faults: string[] = []
  const seen = new Set<string>()
  told.forEach(({ what, id, prev }, index) => {
    if (what !== 'event') return
    if (seen.has(id)) faults.push(`${id} came twice`)
    if (prev !== told[index - 1]?.id) faults.push(`${id} follows ${prev}, but came after ${told[index - 1]?.id}`)
    seen.add(id)
  })
  // Events confirmed before a reset can be lost with it: that is its meaning.
  const firstReset = told.find(({ what }) => what === 'reset')
  const end = firstReset === undefined ? told : told.slice(0, told.indexOf(firstReset))
  const [first, last] = [end[0]?.id, end.at(-1)?.id]
  for (const id of acked) if (first !== undefined && last !== undefined && isBetween(id, first, last) && !seen.has(id)) faults.push(`${id} is lost`)
  return faults
}

/** IDs are `<milliseconds>-<sequence>`: many have the same millisecond. */
function isBetween (id: string, after: string, until: string): boolean {
  const [one, low, high] = [id, after, until].map((each) => each.split('-').reduce((sum, part) => (sum << 64n) + BigInt(part), 0n)) as [bigint, bigint, bigint]
  return one > low && one <= high
}
