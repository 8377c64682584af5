import { Redis, type RedisOptions } from 'ioredis'
import type { Owner } from './cleanup-scope.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'
import { until } from './until.ts'

const DOWN_AFTER_MS = 500
const FAILOVER_TIMEOUTS = 6
const QUORUM = 2
const PAUSE_MS = 60_000

/** Size of a Sentinel group. */
export interface SentinelOptions {
  /** 1 */
  replicas?: number
  /** command line arguments of redis-server, for the master and its replicas */
  args?: string[]
  /** silence after which a replica is promoted, in ms; 500. Longer if no failover is wanted on a busy machine. */
  downAfterMs?: number
}

/** Starts a master, its replicas and three Sentinels; resolves when these know each other and all replicas. Ends with the owner. */
export async function startSentinel (owner: Owner, options: SentinelOptions = {}): Promise<SentinelGroup> {
  const { replicas = 1, args = [], downAfterMs = DOWN_AFTER_MS } = options
  const own = ['--repl-diskless-sync-delay', '0', ...args]
  const master = await startRedisProcess(owner, { args: own })
  const followers = await Promise.all(Array.from({ length: replicas }, () => {
    return startRedisProcess(owner, { args: ['--replicaof', master.host, String(master.port), ...own] })
  }))
  await Promise.all(followers.map((follower) => linked(owner, follower)))
  const sentinels = await Promise.all([1, 2, 3].map(() => startGuard(owner, master, downAfterMs)))
  const group = new SentinelGroup(open(owner, sentinels), { servers: [master, ...followers], sentinels })
  await group.settled(replicas)
  return group
}

/** Three Sentinels and their servers. */
export class SentinelGroup {
  /** name of the master group */
  readonly name = 'main'
  /** The first was the master at the start. */
  readonly servers: readonly RedisProcess[]
  readonly sentinels: readonly RedisProcess[]
  readonly #controls: readonly Redis[]

  constructor (controls: Redis[], { servers, sentinels }: Pick<SentinelGroup, 'servers' | 'sentinels'>) {
    this.#controls = controls
    this.servers = servers
    this.sentinels = sentinels
  }

  /** options of an ioredis client for the master */
  get clientOptions (): Pick<RedisOptions, 'sentinels' | 'name'> {
    return { sentinels: this.sentinels.map(({ host, port }) => ({ host, port })), name: this.name }
  }

  /** The server that every Sentinel sees as master; undefined while they disagree. */
  async master (): Promise<RedisProcess | undefined> {
    const ports = await Promise.all(this.#controls.map((control) => this.#masterPort(control)))
    return this.servers.find(({ port }) => ports.every((seen) => seen === port))
  }

  /** Kills the master and waits until a replica is promoted; returns the replica. */
  async failover (): Promise<RedisProcess> {
    const old = await until(() => this.master(), { what: 'the Sentinels agree on a master' })
    await old.kill()
    return await this.#promoted(old)
  }

  /**
   * Promotes the replica while the master lives, without loss, and makes the old master a replica; returns the new master.
   *
   * Sentinels alone lose what the old master confirms between the promotion and the departure of its clients, a second or more: writes pause meanwhile.
   */
  async handOver (): Promise<RedisProcess> {
    const old = await until(() => this.master(), { what: 'the Sentinels agree on a master' })
    using controls = new Controls(this.servers)
    await controls.of(old).call('CLIENT', 'PAUSE', PAUSE_MS, 'WRITE')
    await until(() => controls.areLevel(), { what: 'the replica knows all' })
    await until(() => this.#controls[0]?.call('SENTINEL', 'FAILOVER', this.name), { what: 'a Sentinel starts a failover' })
    const heir = await this.#promoted(old)
    await controls.of(old).replicaof(heir.host, heir.port)
    await controls.of(old).call('CLIENT', 'UNPAUSE')
    return heir
  }

  /** Waits until each Sentinel knows the others and this many replicas. */
  async settled (replicas: number): Promise<void> {
    await until(async () => {
      const views = await Promise.all(this.#controls.map((control) => this.#view(control)))
      return views.every((view) => view['num-slaves'] === String(replicas) && view['num-other-sentinels'] === '2')
    }, { what: 'the Sentinels know each other', deadlineMs: 30_000 })
  }

  async #promoted (old: RedisProcess): Promise<RedisProcess> {
    return await until(async () => {
      const master = await this.master()
      return master === old ? undefined : master
    }, { what: 'a replica is promoted', deadlineMs: 30_000 })
  }

  async #masterPort (control: Redis): Promise<number> {
    const address = await control.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name)
    return Number(Array.isArray(address) ? address[1] : undefined)
  }

  async #view (control: Redis): Promise<Record<string, string>> {
    const reply = [await control.call('SENTINEL', 'MASTER', this.name)].flat().map(String)
    return Object.fromEntries(reply.flatMap((name, i) => i % 2 === 0 ? [[name, reply[i + 1] ?? '']] : []))
  }
}

/** The test's own connections to servers, for a while. */
class Controls implements Disposable {
  readonly #clients: ReadonlyMap<RedisProcess, Redis>

  constructor (servers: readonly RedisProcess[]) {
    this.#clients = new Map(servers.map((server) => [server, connect(server)]))
  }

  of (server: RedisProcess): Redis {
    const client = this.#clients.get(server)
    if (client === undefined) throw new Error('no server of the group')
    return client
  }

  /** Whether all have replicated the same data, to the same offset. */
  async areLevel (): Promise<boolean> {
    const infos = await Promise.all([...this.#clients.values()].map((client) => client.info('replication')))
    return new Set(infos.map((info) => /(?:slave|master)_repl_offset:(\d+)/.exec(info)?.[1])).size === 1
  }

  [Symbol.dispose] (): void {
    for (const client of this.#clients.values()) client.disconnect()
  }
}

function startGuard (owner: Owner, master: RedisProcess, downAfterMs: number): Promise<RedisProcess> {
  return startRedisProcess(owner, {
    args: ['--sentinel'],
    config: [
      `sentinel monitor main ${master.host} ${master.port} ${QUORUM}`,
      `sentinel down-after-milliseconds main ${downAfterMs}`,
      `sentinel failover-timeout main ${FAILOVER_TIMEOUTS * downAfterMs}`
    ]
  })
}

function open (owner: Owner, servers: RedisProcess[]): Redis[] {
  return servers.map((server) => {
    const control = connect(server)
    owner.after(() => control.disconnect())
    return control
  })
}

function connect ({ port, host }: RedisProcess): Redis {
  const control = new Redis(port, host, { protocol: 2, enableReadyCheck: false, maxRetriesPerRequest: null, retryStrategy: () => 50, disconnectTimeout })
  control.on('error', () => {}) // it reconnects until the server is back
  return control
}

async function linked (owner: Owner, follower: RedisProcess): Promise<void> {
  const [control] = open(owner, [follower])
  await until(async () => (await control?.info('replication'))?.includes('master_link_status:up'), { what: 'a replica has its master\'s data' })
}
