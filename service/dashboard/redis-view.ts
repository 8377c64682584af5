import type { FastifyInstance } from 'fastify'
import type { MetricsSnapshot, SlowLog } from '../../plugins/metrics.ts'
import { pointOf } from './chart-point.ts'

type Sample = NonNullable<MetricsSnapshot['redis']>
type Entries = Exclude<SlowLog, string>

/** Figures of Redis on the dashboard; sizes in bytes, rates per second. */
interface RedisView {
  /** time of the sample, milliseconds since 1970 */
  readonly at: number
  readonly nodes: number
  readonly silent: number
  readonly version: string
  readonly role: string
  readonly memoryPolicy: string
  readonly memoryUsed: number | null
  readonly memoryMax: number | null
  readonly memoryOther: number | null
  readonly evictions: number | null
  readonly clients: number | null
  readonly namespaces: Sample['namespaces']
  readonly commands: Sample['latencies']
  readonly slowLog: Entries | Extract<SlowLog, string>
}

const commandsShown = 8
const slowShown = 8

/** Keeps the last figures of Redis: during an outage they are shown as such, with their time. */
export class LastRedis {
  #view: RedisView | null = null
  #isCurrent = false

  /** Reads the latest snapshot. */
  update ({ history }: FastifyInstance['metrics']): void {
    const last = history.last
    this.#isCurrent = last?.isRedisUp === true && last.redis !== undefined
    if (last?.redis !== undefined && this.#isCurrent) this.#view = viewOf(last.redis, history.window(60))
  }

  /** null: this process has never reached Redis */
  get view (): RedisView | null {
    return this.#view
  }

  /** Time of the last known figures if they are no longer current; null if they are, or if there are none. */
  get unknownSince (): number | null {
    return this.#isCurrent ? null : this.#view?.at ?? null
  }
}

function viewOf (sample: Sample, window: readonly [MetricsSnapshot, MetricsSnapshot] | undefined): RedisView {
  const { memoryUsed = null, memoryMax = null, memoryOther = null, evictions = null, clients = null } = window === undefined ? {} : pointOf(...window)
  const [first] = sample.nodes
  return {
    at: sample.at,
    nodes: sample.nodes.length,
    silent: sample.silent,
    version: first?.version ?? '',
    role: first?.role ?? '',
    memoryPolicy: first?.memoryPolicy ?? '',
    memoryUsed,
    memoryMax,
    memoryOther,
    evictions,
    clients,
    namespaces: sample.namespaces,
    commands: sample.latencies.slice(0, commandsShown),
    slowLog: slowLogOf(sample)
  }
}

/** The latest entries of all nodes, or why there are none. */
function slowLogOf ({ nodes }: Sample): RedisView['slowLog'] {
  const logs = nodes.map(({ slowLog = [] }) => slowLog)
  const entries = logs.filter((log) => typeof log !== 'string').flat()
  const reason = logs.find((log) => typeof log === 'string')
  return entries.length === 0 && reason !== undefined ? reason : entries.sort((one, other) => other.at - one.at).slice(0, slowShown)
}
