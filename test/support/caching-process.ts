import { spawn } from 'node:child_process'
import { Agent, get } from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { cachingApp } from './caching.ts'
import type { Owner } from './cleanup-scope.ts'
import { until } from './until.ts'

/** What the first run of a handler does instead of a normal response. */
export type FirstRun = 'hang' | 'throw' | 'private' | 'held'

/** A caching app in its own process. */
export interface CachingProcess {
  pid: number
  /**
   * `GET /<id>`: cached with the tag `all`; responds after `ms` with the number of the handler run among all processes.
   * The first run can deviate; a `held` run waits for the key `test:go:<id>`.
   */
  get (id: string, options?: { ms?: number, first?: FirstRun }): Promise<TestReply>
  /** The longest block of its event loop since the last call, in ms. */
  stall (): Promise<number>
  /** Kills the process. */
  kill (): void
}

/** One response. */
export interface TestReply {
  status: number
  cache: string
  run: number
}

/** Starts a process on a free port; killed with its owner. */
export async function startCachingProcess (owner: Owner, url: string): Promise<CachingProcess> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', import.meta.filename, url], { stdio: ['pipe', 'pipe', 'inherit'] })
  const agent = new Agent({ keepAlive: true })
  const kill = () => { child.kill('SIGKILL') }
  owner.after(() => { kill(); agent.destroy() })
  const ended = new Promise<never>((_resolve, reject) => { child.once('exit', (code) => reject(new Error(`the process ended with ${code}`))) })
  ended.catch(() => {}) // relevant only until it listens
  const address = await Promise.race([ended, new Promise<string>((resolve) => { createInterface(child.stdout).once('line', resolve) })])
  return {
    pid: child.pid ?? 0,
    get: (id, { ms = 0, first } = {}) => send(`${address}/${id}?ms=${ms}${first === undefined ? '' : `&first=${first}`}`, agent),
    stall: async () => (await send(`${address}/stall`, agent)).run,
    kill
  }
}

function send (url: string, agent: Agent): Promise<TestReply> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { body += chunk }).on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, cache: String(response.headers['cache-status']), run: (JSON.parse(body) as { run: number }).run }))
    }).on('error', reject)
  })
}

if (import.meta.main) {
  const [, , url = ''] = process.argv
  const app = await cachingApp({ after: () => {} }, { url })
  app.get<{ Params: { id: string }, Querystring: { ms: string, first?: FirstRun } }>('/:id', { config: { cache: { tags: ['all'] } } }, async ({ params: { id }, query: { ms, first } }, reply) => {
    const run = await app.redis.incr(`test:runs:${id}`)
    await app.redis.rpush(`test:pids:${id}`, process.pid)
    await app.redis.rpush(`test:begun:${id}`, Date.now())
    if (run === 1 && first === 'hang') await new Promise(() => {})
    if (run === 1 && first === 'throw') throw new Error('the first run')
    if (run === 1 && first === 'private') reply.header('cache-control', 'private')
    if (run === 1 && first === 'held') await until(() => app.redis.exists(`test:go:${id}`), { what: 'it may go on' })
    await sleep(Number(ms))
    return { run }
  })
  const delays = monitorEventLoopDelay({ resolution: 10 })
  delays.enable()
  app.get('/stall', async () => {
    const run = delays.max / 1e6
    delays.reset()
    return { run }
  })
  process.stdin.resume().once('end', () => process.exit()) // the parent process has ended
  console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
}
