import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { machine, Progress, writeResult } from '../interleaved/report.ts'
import { hasWrk } from '../load.ts'
import type { BenchOptions } from '../options.ts'
import { pinBench } from '../server.ts'
import { rowsOf } from './figures.ts'
import type { Row, RunFigures } from './figures.ts'
import { runWorkload } from './run.ts'
import { choiceOf, foreignChoice, mainServers, partServers } from './servers.ts'
import type { ServerChoice } from './servers.ts'
import { commandTable, costTable, latencyTable, partTable } from './table.ts'
import { mainWorkloads, workloads } from './workloads.ts'
import type { Workload } from './workloads.ts'

/** The workloads of these names. A name without its ending means the whole group: `body` is all bodies. */
export function workloadsOf (names: readonly string[]): Workload[] {
  if (names.includes('all')) return [...workloads]
  for (const name of names) if (!workloads.some((workload) => isNamed(workload, name))) throw new Error(`no workload or bench "${name}"; "npm run bench -- --help" lists them`)
  return workloads.filter((workload) => (names.length > 0 ? names : mainWorkloads).some((name) => isNamed(workload, name)))
}

function isNamed ({ name }: Workload, chosen: string): boolean {
  return name === chosen || name.startsWith(`${chosen}-`)
}

/** The stack beside the conventional one and bare Fastify; or its parts, where `parts` is among the names. */
export async function benchRequestPath (options: BenchOptions): Promise<void> {
  if (!hasWrk) throw new Error('the bench needs wrk 4 to generate load: "apt-get install wrk" or "brew install wrk"')
  pinBench()
  const isByParts = options.names.includes('parts')
  const named = options.names.filter((name) => name !== 'parts')
  const chosen = workloadsOf(isByParts && named.length === 0 ? ['many'] : named)
  const choices = choicesOf(options, isByParts)
  const folder = await mkdtemp(join(tmpdir(), 'prism-bench-'))
  try {
    const runs = await measure(chosen, choices, options, folder)
    const results = new Map([...runs].map(([name, figures]) => [name, rowsOf(figures)]))
    await tell(results, isByParts)
    await writeResult(options, Object.fromEntries(runs))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function choicesOf ({ servers, also }: BenchOptions, isByParts: boolean): ServerChoice[] {
  const names = servers ?? (isByParts ? ['bare', ...partServers] : mainServers)
  return [...names.map(choiceOf), ...also.map(foreignChoice)]
}

/** All runs of all workloads. A run is one pass over all workloads, so that runs of a workload are minutes apart. */
async function measure (chosen: readonly Workload[], choices: readonly ServerChoice[], options: BenchOptions, folder: string): Promise<Map<string, RunFigures[]>> {
  const runs = new Map(chosen.map(({ name }) => [name, [] as RunFigures[]]))
  const progress = new Progress()
  for (let run = 0; run < options.runs; run++) {
    for (const workload of chosen) {
      const note = (text: string) => progress.show(`run ${run + 1} of ${options.runs}, ${workload.name}: ${text}`)
      runs.get(workload.name)?.push(await runWorkload(workload, choices, { ...options, flags: options.nodeFlags, folder, note }))
      progress.keep(`run ${run + 1} of ${options.runs}, ${workload.name}: ${summaryOf(runs.get(workload.name)?.at(-1) ?? {})}`)
    }
  }
  progress.end()
  return runs
}

function summaryOf (figures: RunFigures): string {
  return Object.entries(figures).map(([name, { cpu, redis, isSteady }]) => `${name} ${cpu.median.toFixed(1)} µs, Redis ${redis.median.toFixed(1)}${isSteady ? '' : ', not steady'}`).join('; ')
}

async function tell (results: ReadonlyMap<string, readonly Row[]>, isByParts: boolean): Promise<void> {
  const tables = [costTable(results), isByParts ? partTable(results) : '', latencyTable(results), commandTable(results)]
  console.log(tables.filter((table) => table !== '').join('\n\n'))
  console.log(`\n${await machine()}`)
}
