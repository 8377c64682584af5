import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Owner } from '../../test/support/cleanup-scope.ts'
import { startRedisProcess } from '../../test/support/redis-process.ts'
import { machine, Progress, writeResult } from '../interleaved/report.ts'
import { median, quartilesOf } from '../interleaved/statistics.ts'
import type { BenchOptions } from '../options.ts'
import { withOwner } from '../owner.ts'
import { cores, pinBench, pinned } from '../server.ts'

interface Started { readonly milliseconds: number, readonly cpu: { readonly user: number, readonly system: number } }
/** Starts of one program in one run: wall time and CPU, in milliseconds. */
interface Starts { readonly name: string, readonly milliseconds: readonly number[], readonly cpu: readonly number[] }

const root = join(import.meta.dirname, '../..')
const programs = ['bare', 'conventional', 'prism', 'memory']
const run = promisify(execFile)

/** `npm run bench start`: from the first import until the server listens (memory: until it is ready for app.inject), with the package as its tarball has it; a new process for each start, in random order. */
export async function benchStart (options: BenchOptions): Promise<void> {
  pinBench()
  await withOwner(async (owner) => {
    const project = await packedProject(owner)
    const redis = await startRedisProcess(owner)
    const progress = new Progress()
    const runs: Starts[][] = []
    for (let index = 0; index < options.runs; index++) {
      runs.push(await startAll(project, redis.url, options, (text) => progress.show(`run ${index + 1} of ${options.runs}: ${text}`)))
      progress.keep(`run ${index + 1} of ${options.runs}: ${runs.at(-1)?.map(({ name, milliseconds }) => `${name} ${median(milliseconds).toFixed(0)} ms`).join('; ')}`)
    }
    progress.end()
    console.log(`${tableOf(runs)}\n\n${await machine()}`)
    await writeResult(options, runs)
  })
}

/** A folder with the packed package as a user's installation has it; other packages are those of the repository. */
async function packedProject (owner: Owner): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'prism-start-'))
  owner.after(() => rm(folder, { recursive: true, force: true }))
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root, maxBuffer: 1e8 })
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[')))
  const modules = join(folder, 'node_modules')
  await mkdir(join(modules, 'fastify-prism'), { recursive: true })
  await run('tar', ['-xzf', join(folder, filename), '--strip-components=1', '-C', join(modules, 'fastify-prism')])
  for (const name of await readdir(join(root, 'node_modules'))) if (name !== 'fastify-prism' && !name.startsWith('.')) await symlink(join(root, 'node_modules', name), join(modules, name))
  for (const name of programs) await copyFile(new URL(`./programs/${name}.mjs`, import.meta.url), join(folder, `${name}.mjs`))
  return folder
}

async function startAll (project: string, redisUrl: string, { slots, servers = programs, nodeFlags }: BenchOptions, note: (text: string) => void): Promise<Starts[]> {
  const starts = new Map(servers.map((name) => [name, [] as Started[]]))
  for (let start = -1; start < slots; start++) { // the first fills the caches of the file system
    note(`start ${start + 1} of ${slots}`)
    for (const name of servers.toSorted(() => Math.random() - 0.5)) {
      const started = await startOnce(join(project, `${name}.mjs`), redisUrl, nodeFlags)
      if (start >= 0) starts.get(name)?.push(started)
    }
  }
  return [...starts].map(([name, each]) => ({ name, milliseconds: each.map(({ milliseconds }) => milliseconds), cpu: each.map(({ cpu }) => (cpu.user + cpu.system) / 1000) }))
}

async function startOnce (file: string, redisUrl: string, flags: readonly string[]): Promise<Started> {
  const [program = '', ...args] = pinned(cores.server, [process.execPath, ...flags])
  const child = fork(file, { execPath: program, execArgv: args, env: { ...process.env, NODE_ENV: 'production', REDIS_URL: redisUrl } })
  const [started] = await Promise.race([once(child, 'message'), once(child, 'exit').then(([code]) => { throw new Error(`${file} ended with ${code}`) })])
  child.kill('SIGKILL')
  return started as Started
}

function tableOf (runs: readonly Starts[][]): string {
  const of = (run: readonly Starts[], name: string) => run.find((starts) => starts.name === name)
  const lines = (runs[0] ?? []).map(({ name }) => {
    const times = runs.map((each) => quartilesOf(of(each, name)?.milliseconds ?? []))
    const ratios = runs.map((each, index) => (times[index]?.median ?? NaN) / median(of(each, 'conventional')?.milliseconds ?? []))
    const cpu = median(runs.map((each) => median(of(each, name)?.cpu ?? [])))
    return `| ${[name, `${median(times.map((each) => each.median)).toFixed(0)} (${median(times.map(({ low }) => low)).toFixed(0)} to ${median(times.map(({ high }) => high)).toFixed(0)})`, median(ratios).toFixed(2), cpu.toFixed(0)].join(' | ')} |`
  })
  return ['| from import to listening | ms (quartiles) | ÷ conventional | CPU of the process ms |\n|---|---:|---:|---:|', ...lines].join('\n')
}
