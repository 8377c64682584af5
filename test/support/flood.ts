import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { parseInfo } from '../../src/redis/health/server-info.ts'
import { aclUser } from './acl.ts'
import { cachingApp, stored } from './caching.ts'
import type { Owner } from './cleanup-scope.ts'
import { startRedisProcess } from './redis-process.ts'

/** Load and size of the server. */
export interface FloodOptions {
  megabytes: number
  /** sessions that are not used during the flood */
  sessions: number
  /** total requests: half of them for URLs that are requested once */
  requests: number
  /** popular URLs at a time; half of them change in the middle */
  popular: number
  bodyBytes: number
  /** without the cache's memory limit, so that only the server's policy applies */
  isPlain?: boolean
}

/** Result of the flood. */
export interface FloodResult {
  sessionsLost: number
  evictedKeys: number
  /** hits among requests for popular URLs */
  hitRate: number
  usedShare: number
  /** entries that all apps declined or evicted */
  declined: number
  shed: number
}

const apart = 50

/** A small `allkeys-lru` server, shared by two caching apps and many idle sessions. */
export class Flood {
  readonly apps: readonly FastifyInstance[]
  readonly client: Redis
  /** the apps' log lines about Redis's memory */
  readonly logs: readonly string[]
  readonly #options: FloodOptions
  #hits = 0
  #wanted = 0
  #sessions = 0

  private constructor (options: FloodOptions, client: Redis, apps: readonly FastifyInstance[], logs: readonly string[]) {
    this.#options = options
    this.client = client
    this.apps = apps
    this.logs = logs
  }

  static async start (owner: Owner, options: FloodOptions): Promise<Flood> {
    const blind = aclUser({ name: 'blind', password: 'blind', rules: ['~*', '&*', '+@all', '-info'] })
    const server = await startRedisProcess(owner, { args: ['--maxmemory', `${options.megabytes}mb`, '--maxmemory-policy', 'allkeys-lru', ...blind] })
    const client = new Redis(server.url)
    owner.after(() => { client.disconnect() })
    const url = options.isPlain === true ? `redis://blind:blind@${server.host}:${server.port}` : server.url
    const logs: string[] = []
    const stream = { write: (line: string) => { if (line.includes('limitBytes')) logs.push(line) } }
    const ofApp = { url, compression: false as const, server: { logger: { stream }, disableRequestLogging: true } }
    const apps = await Promise.all([cachingApp(owner, ofApp), cachingApp(owner, ofApp)])
    for (const app of apps) app.get('/:kind/:id', { config: { cache: { ttl: '1h' } } }, async () => randomBytes(options.bodyBytes / 2).toString('hex'))
    await Promise.all(apps.map((app) => app.ready()))
    const flood = new Flood(options, client, apps, logs)
    await flood.addSessions(options.sessions)
    return flood
  }

  /** Adds sessions with the size of one with a few values. */
  async addSessions (count: number): Promise<void> {
    for (let start = 0; start < count; start += 500) {
      const pipeline = this.client.pipeline()
      for (let index = start; index < Math.min(count, start + 500); index++) {
        const key = `session:{user-${this.#sessions++}}`
        pipeline.hset(key, randomBytes(12).toString('hex'), randomBytes(150).toString('hex')).pexpire(key, 3_600_000)
      }
      await pipeline.exec()
    }
  }

  async run (): Promise<FloodResult> {
    for (let sent = 0; sent < this.#options.requests; sent += apart) await Promise.all(Array.from({ length: apart }, (_, index) => this.#request(sent + index)))
    await Promise.all(this.apps.map(stored))
    return await this.result()
  }

  async result (): Promise<FloodResult> {
    const info = parseInfo(await this.client.info())
    const counts = this.apps.map((app) => app.cache.counts)
    return {
      sessionsLost: this.#sessions - await this.#sessionsLeft(),
      evictedKeys: Number(info.get('evicted_keys')),
      hitRate: this.#hits / this.#wanted,
      usedShare: Number(info.get('used_memory')) / Number(info.get('maxmemory')),
      declined: counts.reduce((sum, { admission_rejected: rejected }) => sum + rejected, 0),
      shed: counts.reduce((sum, { evicted }) => sum + evicted, 0)
    }
  }

  async #request (number: number): Promise<void> {
    const app = this.apps[number % this.apps.length]
    if (Math.random() < 0.5) {
      await app?.inject(`/once/${number}-${Math.random()}`)
      return
    }
    const reply = await app?.inject(`/often/${this.#popular(number)}`)
    this.#wanted += 1
    if (String(reply?.headers['cache-status']).includes('; hit')) this.#hits += 1
  }

  /** Zipf: the second is requested half as often as the first. */
  #popular (number: number): number {
    const { popular, requests } = this.#options
    const rank = Math.floor(popular ** Math.random())
    return number > requests / 2 && rank % 2 === 0 ? rank + popular : rank
  }

  async #sessionsLeft (): Promise<number> {
    let left = 0
    for (let start = 0; start < this.#sessions; start += 1000) {
      left += await this.client.exists(Array.from({ length: Math.min(1000, this.#sessions - start) }, (_, index) => `session:{user-${start + index}}`))
    }
    return left
  }
}
