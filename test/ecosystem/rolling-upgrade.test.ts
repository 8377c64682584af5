import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import type { Test } from 'tap'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { redisArgs } from './support/app.ts'
import { Client } from './support/client.ts'
import { lastReleaseEntry } from './support/release.ts'

const program = join(import.meta.dirname, 'support/release-process.ts')
const ownEntry = join(import.meta.dirname, '../../plugins/index.ts')
const previous = await lastReleaseEntry()

interface Release { url: string, stop: () => Promise<void> }

async function start (t: Test, entry: string, redisUrl: string): Promise<Release> {
  const child: ChildProcess = spawn(process.execPath, [program], { env: { ...process.env, PRISM_ENTRY: entry, REDIS_URL: redisUrl }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const ended = once(child, 'exit').then(() => { throw new Error(`a process of ${entry} ended`) })
  ended.catch(() => {})
  const [port] = await Promise.race([once(createInterface(child.stdout as NodeJS.ReadableStream), 'line'), ended])
  return {
    url: `http://127.0.0.1:${port}`,
    stop: async () => {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
    }
  }
}

/** Clients that send requests to any of the running processes, and what they find wrong. */
class Load {
  readonly processes: Release[] = []
  readonly faults: string[] = []
  requests = 0
  hits = 0
  readonly allowed = new Map<string, number>()
  #isOver = false
  #versions = new Map<string, number>()

  constructor (processes: readonly Release[]) {
    this.processes.push(...processes)
  }

  end (): void {
    this.#isOver = true
  }

  /** Another process for each request, so that what one release writes the other reads. */
  async sendRequest (client: Client, path: string, method: 'GET' | 'PUT' | 'POST' = 'GET') {
    const { url = '' } = this.processes[this.requests++ % this.processes.length] ?? {}
    const response = await client.at(url).get(path, { method })
    if (response.isHit) this.hits++
    if (response.status !== 200 && response.status !== 429) this.faults.push(`${method} ${path}: ${response.status} ${response.text}`)
    return response
  }

  /** One signed-in user: what it has saved it reads again, whichever process it uses. */
  async runUser (name: string): Promise<void> {
    const client = new Client({ url: '' })
    await this.sendRequest(client, `/sign-in/${name}`, 'POST')
    for (let round = 0; !this.#isOver; round++) {
      await this.sendRequest(client, `/note/${name}-${round}`, 'PUT')
      const { body } = await this.sendRequest(client, '/note')
      if (body?.user !== name || body?.note !== `${name}-${round}`) this.faults.push(`the session of ${name} has ${JSON.stringify(body)} in round ${round}`)
      await this.#readPage(client, `page-${round % 5}`)
      if (round % 4 === 0) await this.#writePage(client, `page-${round % 5}`)
      if (round < 40) await this.#count(client, name)
    }
  }

  async #readPage (client: Client, id: string): Promise<void> {
    const purged = this.#versions.get(id) ?? 0
    const { body } = await this.sendRequest(client, `/page/${id}`)
    if (body?.id !== id || body?.text !== id.repeat(1_000)) this.faults.push(`${id} is misread: ${JSON.stringify(body)?.slice(0, 80)}`)
    if (body?.version < purged) this.faults.push(`${id} is version ${body?.version} after ${purged} was purged for`)
  }

  async #writePage (client: Client, id: string): Promise<void> {
    const { body } = await this.sendRequest(client, `/page/${id}`, 'PUT')
    this.#versions.set(id, Math.max(this.#versions.get(id) ?? 0, body?.version ?? 0))
  }

  async #count (client: Client, name: string): Promise<void> {
    const { status } = await this.sendRequest(client, `/counted/${name}`)
    this.allowed.set(name, (this.allowed.get(name) ?? 0) + (status === 200 ? 1 : 0))
  }

  /** Waits until a number of further requests have received a response from the processes that run now. */
  async further (requests: number): Promise<void> {
    const target = this.requests + requests
    await until(() => this.requests >= target, { what: `${requests} further requests`, deadlineMs: 240_000 })
  }
}

t.setTimeout(300_000)
t.test('processes of the last release are replaced one by one under load, and one is rolled back', { skip: previous === undefined ? 'this clone lacks the revision of the last release' : false }, async (t) => {
  const { url } = await startRedis(t, { args: redisArgs })
  const older = await Promise.all([1, 2].map(() => start(t, previous ?? '', url)))
  const load = new Load(older)
  const users = ['ada', 'bob', 'cyd', 'dan', 'eve', 'fay'].map((name) => load.runUser(name))
  await load.further(80)

  for (const process of older) {
    load.processes.push(await start(t, ownEntry, url))
    await load.further(120)
    load.processes.splice(load.processes.indexOf(process), 1)
    await load.further(80)
    await process.stop()
  }
  load.processes.push(await start(t, previous ?? '', url))
  await load.further(150)
  load.end()
  await Promise.all(users)

  t.same(load.faults, [], 'no session is lost, no entry is misread, no purge is undone')
  t.same([...load.allowed.values()], [15, 15, 15, 15, 15, 15], 'no quota is forgotten')
  t.ok(load.hits > 20, `${load.hits} hits`)
})
