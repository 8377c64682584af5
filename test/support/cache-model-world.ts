import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { cachingApp } from './caching.ts'
import type { Owner } from './cleanup-scope.ts'
import { disconnectTimeout, startRedisProcess } from './redis-process.ts'
import type { RedisProcess } from './redis-process.ts'
import { startSwitch } from './redis-switch.ts'
import type { Switch } from './redis-switch.ts'
import { until } from './until.ts'

/** One event; its numbers choose among the existing objects. */
export type Act =
  | { what: 'request', app: number, id: number, isSwapped: boolean, isHeld: boolean, how: keyof typeof requestKinds }
  | { what: 'refuse', app: number, id: number, isSlow: boolean }
  | { what: 'purge', app: number, id: number, isSoft: boolean, ofAll: boolean }
  | { what: 'release' | 'write' | 'lose', of: number }
  | { what: 'save' | 'restart' | 'lag' | 'failover' | 'setBack' }

/** Header fields that let a request leave the path of most requests. */
const requestKinds = {
  plain: {},
  conditional: { 'if-none-match': '"another"' },
  part: { range: 'bytes=0-' },
  revalidating: { 'cache-control': 'max-age=0' }
} as const

interface Server { process: RedisProcess, client: Redis }

/** A request, and the oldest data that its response may contain. */
interface TestReply {
  readonly url: string
  readonly atLeast: number
  readonly response: Promise<{ statusCode: number, body: string, status: string }>
}

const ids = 2

/** Three caching apps, a Redis with a replica, and the data that their handlers read, which wait until they are released. */
export class CacheWorld {
  readonly apps: FastifyInstance[] = []
  faults: string[] = []
  #servers: [Server, Server]
  readonly #switch: Switch
  #round = 0
  #values = [0, 0]
  /** data that an acknowledged purge invalidated, by route: without and with a stale window */
  #purged: Record<'plain' | 'swap', number[]> = { plain: [0, 0], swap: [0, 0] }
  #pending: TestReply[] = []
  #held: (() => void)[] = []
  #refused: (Promise<void> | undefined)[] = []
  /** a handler that runs now is released at once */
  #isOpen = true

  private constructor (servers: [Server, Server], address: Switch) {
    this.#servers = servers
    this.#switch = address
  }

  static async start (owner: Owner): Promise<CacheWorld> {
    const servers = [await startServer(owner), await startServer(owner)] as [Server, Server]
    const world = new CacheWorld(servers, await startSwitch(owner, servers[0].process.port))
    for (let count = 0; count < 3; count++) world.apps.push(await world.#startApp(owner))
    return world
  }

  /** Starts a new run with unused names. */
  async begin (): Promise<void> {
    this.#round += 1
    this.#values = [0, 0]
    this.#purged = { plain: [0, 0], swap: [0, 0] }
    this.faults = []
    await this.#follow()
  }

  async act (act: Act): Promise<void> {
    if (act.what === 'request') await this.#request(act)
    else if (act.what === 'refuse') await this.#refuse(act)
    else if (act.what === 'purge') await this.#purge(act)
    else if (act.what === 'release') this.#held.splice(act.of % Math.max(1, this.#held.length), 1)[0]?.()
    else if (act.what === 'write') this.#values[act.of % ids] = (this.#values[act.of % ids] ?? 0) + 1
    else if (act.what === 'lose') await this.#lose(act.of)
    else await this[act.what]()
  }

  /** Releases everything, and checks every response and every key. */
  async end (): Promise<void> {
    this.#isOpen = true
    for (const release of this.#held.splice(0)) release()
    let settled = 0
    const all = this.#pending.splice(0).map(async ({ url, atLeast, response }) => {
      const { statusCode, body, status } = await response
      settled += 1
      const { seen } = JSON.parse(body) as { seen?: number }
      if ((statusCode !== 200 && statusCode !== 206) || seen === undefined || seen < atLeast) this.faults.push(`${url}: ${body} with ${status}, at least ${atLeast} was wanted`)
    })
    await until(() => settled === all.length, { what: 'every request has a response', deadlineMs: 20_000 }).catch(() => this.faults.push(`${all.length - settled} wait for ever`))
    await Promise.all(this.#refused.splice(0))
    const { client } = this.#master
    for (const key of await client.keys('*')) if (await client.pttl(key) === -1) this.faults.push(`${key} has no end`)
  }

  /** The purge sequence is below every tag version, as after a key was restored. */
  async setBack (): Promise<void> {
    await this.#master.client.set('api:cache:seq', '5', 'PX', 600_000)
  }

  async save (): Promise<void> {
    // A replica that is still synchronising comes first.
    await until(() => this.#master.client.save(), { what: 'a snapshot is saved' })
    await this.#master.process.keepSnapshot()
  }

  async restart (): Promise<void> {
    const { process } = this.#master
    await process.restart({ withSnapshot: process.hasSnapshot })
    await this.#reached()
  }

  /** Disconnects the replica from its master. */
  async lag (): Promise<void> {
    await this.#replica.client.replicaof('NO', 'ONE')
  }

  async failover (): Promise<void> {
    this.#servers.reverse()
    await this.lag()
    await this.#master.client.replicaof('NO', 'ONE')
    this.#switch.turn(this.#master.process.port)
    await this.#reached()
    await this.#follow()
  }

  get #master (): Server {
    return this.#servers[0]
  }

  get #replica (): Server {
    return this.#servers[1]
  }

  async #follow (): Promise<void> {
    await this.#replica.client.replicaof('127.0.0.1', this.#master.process.port)
    await until(async () => (await this.#replica.client.info('replication')).includes('master_link_status:up'), { what: 'the replica follows' })
  }

  /** Every app knows its Redis server. */
  async #reached (): Promise<void> {
    await until(async () => {
      const info = await this.#master.client.info('server')
      return this.apps.every(({ redisPool: { server, state } }) => state === 'ready' && info.includes(server?.runId ?? 'none'))
    }, { what: 'the server is reached' })
  }

  async #startApp (owner: Owner): Promise<FastifyInstance> {
    const app = await cachingApp(owner, { url: this.#switch.url, commandTimeout: defaultDeadlineMs })
    const tags = ({ params: { id = '' } }: { params: Record<string, string> }) => [`all-${this.#round}`, `item-${id}`]
    for (const [name, window] of [['plain', {}], ['swap', { staleWhileRevalidate: '1m' }]] as const) {
      app.get<{ Params: { id: string } }>(`/${name}/:id`, { config: { cache: { ttl: '1h', tags, honorRequestCacheControl: true, ...window } }, preHandler: refuseSome }, async ({ params }, reply) => {
        // A tag that no lookup expects.
        if (params.id.endsWith('-1')) reply.tag(`more-${params.id}`)
        const seen = this.#values[Number(params.id.split('-')[1])]
        if (!this.#isOpen) await new Promise<void>((resolve) => { this.#held.push(resolve) })
        // Large responses are looked up by their heads.
        return params.id.endsWith('-1') ? { seen, padding: randomBytes(4500).toString('base64') } : { seen }
      })
    }
    return app
  }

  async #request ({ app, id, isSwapped, isHeld, how }: Act & { what: 'request' }): Promise<void> {
    const route = isSwapped ? 'swap' : 'plain'
    const url = `/${route}/${this.#round}-${id % ids}`
    this.#isOpen = !isHeld
    const response = this.apps[app % 3]?.inject({ url, headers: requestKinds[how] }).then(({ statusCode, body, headers }) => ({ statusCode, body, status: `${statusCode}, ${headers['cache-status']}, ${this.#pending.length} requests` })) ?? Promise.reject(new Error('no such app'))
    this.#pending.push({ url, atLeast: this.#purged[route][id % ids] ?? 0, response })
    // The request has reached its handler or waits for another; or it continues during the next event.
    await Promise.race([response, sleep(isHeld ? 5 : 50)])
  }

  /** A guard rejects it: at once, or while other requests arrive. */
  async #refuse ({ app, id, isSlow }: Act & { what: 'refuse' }): Promise<void> {
    const refused = this.apps[app % 3]?.inject({ url: `/plain/${this.#round}-${id % ids}`, headers: { 'x-refuse': isSlow ? 'slowly' : 'at once' } })
    const statusCode = refused?.then((reply) => { if (reply.statusCode !== 403) this.faults.push(`a refused request received ${reply.statusCode}`) })
    this.#refused.push(statusCode)
    if (!isSlow) await statusCode
  }

  async #purge ({ app, id, isSoft, ofAll }: Act & { what: 'purge' }): Promise<void> {
    const known = [...this.#values]
    const tag = ofAll ? `all-${this.#round}` : `item-${this.#round}-${id % ids}`
    const isDone = await this.apps[app % 3]?.cache.purge(tag, { soft: isSoft }).then(() => true, () => false)
    if (isDone !== true) return
    for (const route of isSoft ? ['plain'] as const : ['plain', 'swap'] as const) {
      for (const each of ofAll ? [0, 1] : [id % ids]) this.#purged[route][each] = Math.max(this.#purged[route][each] ?? 0, known[each] ?? 0)
    }
  }

  async #lose (of: number): Promise<void> {
    const { client } = this.#master
    const item = `${this.#round}-${of % ids}`
    const patterns = ['api:cache:seq', `api:cache:tag:more-${item}`, `api:cache:tag:all-${this.#round}`, `api:cache:tag:item-${item}`, 'api:cache:epoch:*', 'api:cache:lock:*']
    const keys = await client.keys(patterns[of % patterns.length] ?? '')
    if (keys.length > 0) await client.unlink(keys)
  }
}

async function refuseSome ({ headers }: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const how = headers['x-refuse']
  if (how === 'slowly') await sleep(20)
  return how === undefined ? undefined : await reply.code(403).send({})
}

async function startServer (owner: Owner): Promise<Server> {
  const process = await startRedisProcess(owner, { args: ['--repl-diskless-sync-delay', '0'] })
  const client = new Redis(process.url, { retryStrategy: () => 20, disconnectTimeout })
  client.on('error', () => {}) // it is killed in some runs
  owner.after(() => { client.disconnect() })
  return { process, client }
}
