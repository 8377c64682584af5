import { Redis } from 'ioredis'
import { startRedisProcess } from '../../test/support/redis-process.ts'
import type { Owner } from '../../test/support/cleanup-scope.ts'
import { cpuMicrosecondsOf } from '../server.ts'

/** Calls of one command, and the microseconds that Redis spent in them. Commands within scripts are counted, and are part of the script's time too. */
export interface CommandCost { readonly calls: number, readonly microseconds: number }

/** Totals of a Redis server since its start. */
export interface RedisTotals { readonly commands: ReadonlyMap<string, CommandCost>, readonly reads: number, readonly outputBytes: number }

/** A Redis server of one contestant: what another one stores, evicts or purges does not reach it. */
export class MeasuredRedis {
  readonly url: string
  readonly port: number
  readonly #pid: number
  readonly #control: Redis

  private constructor (port: number, pid: number) {
    this.port = port
    this.url = `redis://127.0.0.1:${port}`
    this.#pid = pid
    this.#control = new Redis(this.url)
  }

  static async start (owner: Owner): Promise<MeasuredRedis> {
    const { port, pid } = await startRedisProcess(owner)
    const redis = new MeasuredRedis(port, pid)
    owner.after(() => redis.#control.disconnect())
    return redis
  }

  /** CPU time of the server so far. */
  get cpuMicroseconds (): number {
    return cpuMicrosecondsOf(this.#pid)
  }

  /** Number of keys. */
  async size (): Promise<number> {
    return await this.#control.dbsize()
  }

  async totals (): Promise<RedisTotals> {
    const [stats, commands] = await Promise.all([this.#control.info('stats'), this.#control.info('commandstats')])
    const stat = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(stats)?.[1])
    return { commands: commandsOf(commands), reads: stat('total_reads_processed'), outputBytes: stat('total_net_output_bytes') }
  }
}

function commandsOf (info: string): ReadonlyMap<string, CommandCost> {
  const lines = info.matchAll(/^cmdstat_(?<name>[^:]+):calls=(?<calls>\d+),usec=(?<microseconds>\d+)/gm)
  return new Map([...lines].map(({ groups: { name = '', calls, microseconds } = {} }) => [name, { calls: Number(calls), microseconds: Number(microseconds) }]))
}

/** What each operation cost of the commands between two totals; the bench's own INFO is left out. */
export function commandsBetween (before: RedisTotals, after: RedisTotals, operations: number): Record<string, CommandCost> {
  const costs = [...after.commands].map(([name, { calls, microseconds }]): [string, CommandCost] => {
    const earlier = before.commands.get(name)
    return [name, { calls: (calls - (earlier?.calls ?? 0)) / operations, microseconds: (microseconds - (earlier?.microseconds ?? 0)) / operations }]
  })
  return Object.fromEntries(costs.filter(([name, { calls }]) => calls > 0.001 && name !== 'info').sort(([, one], [, other]) => other.microseconds - one.microseconds))
}
