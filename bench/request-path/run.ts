import { join } from 'node:path'
import { HttpContestant } from '../interleaved/http-contestant.ts'
import { commandsBetween } from '../interleaved/redis-figures.ts'
import type { CommandCost, RedisTotals } from '../interleaved/redis-figures.ts'
import { runRounds, warmUp } from '../interleaved/slots.ts'
import type { Slot } from '../interleaved/slots.ts'
import { median, quartilesOf } from '../interleaved/statistics.ts'
import type { Quartiles } from '../interleaved/statistics.ts'
import { SuspendedLoad } from '../interleaved/suspended-load.ts'
import type { LoadReport } from '../interleaved/suspended-load.ts'
import { writeLines } from '../load.ts'
import { withOwner } from '../owner.ts'
import { measureLatency } from './latency.ts'
import type { Latency } from './latency.ts'
import { signUsersIn, startChoice } from './servers.ts'
import type { ServerChoice, StartedServer } from './servers.ts'
import type { Workload } from './workloads.ts'

/** How a workload is measured. */
export interface RunOptions { readonly slots: number, readonly slotMs: number, readonly longestWarmUp: number, readonly flags: readonly string[], readonly folder: string, readonly note: (text: string) => void }

/** Figures of one server in one run; all costs are microseconds a request. */
export interface ServerFigures {
  readonly cpu: Quartiles
  readonly redis: Quartiles
  readonly requestsPerSecond: number
  readonly commands: Record<string, CommandCost>
  /** how often Redis read from a connection, a request */
  readonly writes: number
  /** bytes that Redis sent, and that the client received, a request */
  readonly redisBytes: number
  readonly sentBytes: number
  readonly latency: Latency | undefined
  readonly isSteady: boolean
}

/** For the first request of each line. */
const plainConnections = 50
const noTotals: RedisTotals = { commands: new Map(), reads: 0, outputBytes: 0 }

interface Entrant { readonly started: StartedServer, readonly file: string, readonly load: SuspendedLoad, readonly contestant: HttpContestant }

/** One run of one workload, with processes and Redis servers that are started for it. */
export async function runWorkload (workload: Workload, choices: readonly ServerChoice[], options: RunOptions): Promise<Record<string, ServerFigures>> {
  return await withOwner(async (owner) => {
    const started: StartedServer[] = []
    for (const choice of choices) started.push(await startChoice(owner, choice, workload, options.flags))
    if (workload.hasUsers) {
      options.note('signing users in')
      await signUsersIn(started)
    }
    const files: string[] = []
    for (const each of started) files.push(await prepare(each, workload, options))
    const entrants: Entrant[] = []
    for (const [index, each] of started.entries()) entrants.push(await enter(each, files[index] ?? '', workload))
    for (const { load } of entrants) owner.after(load.kill)
    return await measure(entrants, workload, options)
  })
}

async function prepare (started: StartedServer, workload: Workload, { folder, note }: RunOptions): Promise<string> {
  const { server, redis, cookies } = started
  const file = join(folder, `${workload.name}-${server.name}`)
  const lines = await workload.lines({ url: server.url, cookies })
  await writeLines(file, lines)
  if (workload.isKnown) {
    const load = new SuspendedLoad(server.url, plainConnections, file)
    await new HttpContestant(server, redis, load).sendAtLeast(lines.length, (completed) => note(`first requests, ${server.name}: ${completed} of ${lines.length}`))
    load.kill()
  }
  return file
}

/** Starts the load, and suspends it when its connections are open: the servers close connections that have been idle for a minute. */
async function enter (started: StartedServer, file: string, { connections }: Workload): Promise<Entrant> {
  const { server, redis } = started
  const load = new SuspendedLoad(server.url, connections, file)
  const contestant = new HttpContestant(server, redis, load)
  await contestant.open()
  await contestant.sendAtLeast(1)
  return { started, file, load, contestant }
}

async function measure (entrants: readonly Entrant[], workload: Workload, options: RunOptions): Promise<Record<string, ServerFigures>> {
  const { slots: rounds, slotMs, note } = options
  const contestants = entrants.map(({ contestant }) => contestant)
  note('warming up')
  const warm = await warmUp(contestants, { slotMs, longest: options.longestWarmUp })
  const before = await totalsOf(entrants)
  const slots = await runRounds(contestants, rounds, slotMs, (done) => note(`slot ${done} of ${rounds}, after ${warm.rounds} to warm up`))
  const after = await totalsOf(entrants)
  const reports = await Promise.all(entrants.map(({ load }) => load.end()))
  const latencies = workload.hasLatency ? await measureLatency(entrants.map(({ started, file }) => ({ ...started, file })), workload, note) : []
  return Object.fromEntries(entrants.map(({ contestant: { name } }, index) => {
    const figures = figuresOf(slots.get(name) ?? [], before[index] ?? noTotals, after[index] ?? noTotals)
    return [name, { ...figures, sentBytes: sentBytesOf(reports[index], workload, name), latency: latencies[index], isSteady: !warm.unsteady.includes(name) }]
  }))
}

/** Bytes of a response. A server that rejects or fails what it should serve costs something else, so that its figures mean nothing. */
function sentBytesOf (report: LoadReport | undefined, { name: workload, isRefused }: Workload, name: string): number {
  if (report === undefined || report.failed > 0 || (report.refused > 0 && !isRefused)) throw new Error(`${workload}, ${name}: of ${report?.requests} responses ${report?.refused} were errors, ${report?.failed} connections failed`)
  return report.bytes / report.requests
}

async function totalsOf (entrants: readonly Entrant[]): Promise<RedisTotals[]> {
  return await Promise.all(entrants.map(async ({ started: { redis } }) => await redis?.totals() ?? noTotals))
}

function figuresOf (slots: readonly Slot[], before: RedisTotals, after: RedisTotals): Pick<ServerFigures, 'cpu' | 'redis' | 'requestsPerSecond' | 'commands' | 'writes' | 'redisBytes'> {
  const operations = slots.reduce((sum, slot) => sum + slot.operations, 0)
  return {
    cpu: quartilesOf(slots.map((slot) => slot.cpuMicroseconds / slot.operations)),
    redis: quartilesOf(slots.map((slot) => slot.redisMicroseconds / slot.operations)),
    requestsPerSecond: median(slots.map((slot) => slot.operations / slot.milliseconds * 1000)),
    commands: commandsBetween(before, after, operations),
    writes: (after.reads - before.reads) / operations,
    redisBytes: (after.outputBytes - before.outputBytes) / operations
  }
}
