import type { Registry } from 'prom-client'
import { bounds } from '../shared/histogram.ts'
import type { Histogram } from '../shared/histogram.ts'
import { memoryLimit, memoryOther, redisFigures } from './redis-info.ts'
import type { NodeSample, RedisCollector, Sample } from './redis-collector.ts'
import { lifetimeBounds } from './keyspace-sampler.ts'

/** One value under its labels. */
export type Row = readonly [labels: Readonly<Record<string, string>>, value: number]
/** A histogram under its labels. */
type HistogramRow = readonly [labels: Readonly<Record<string, string>>, histogram: Pick<Histogram, 'counts' | 'sumSeconds'>]

interface Family<Each> {
  readonly name: string
  readonly help: string
  /** called on each scrape */
  readonly rows: () => readonly Each[]
}

/** Gauges of prom-client with the counter suffix `_total`, which `promtool check metrics` rejects. */
const misnamed = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/** The module prom-client, an optional peer: its importer passes it. */
type PromClient = typeof import('prom-client')

let nodeMetrics: Registry | undefined

/** Default metrics of Node. Created once per process, because prom-client cannot stop its observers. */
function nodeRegistry ({ Registry, collectDefaultMetrics }: PromClient): Registry {
  if (nodeMetrics !== undefined) return nodeMetrics
  nodeMetrics = new Registry()
  collectDefaultMetrics({ register: nodeMetrics })
  for (const name of misnamed) nodeMetrics.removeSingleMetric(name)
  return nodeMetrics
}

/** Prometheus metrics. Values are counted by the components and read on each scrape. */
export class MetricsRegistry {
  readonly registry: Registry
  readonly #promClient: PromClient
  readonly #nodeRegistry: Registry

  constructor (promClient: PromClient) {
    this.registry = new promClient.Registry()
    this.#promClient = promClient
    this.#nodeRegistry = nodeRegistry(promClient)
  }

  counter ({ name, help, rows }: Family<Row>): void {
    const registers = [this.registry]
    // eslint-disable-next-line no-new
    new this.#promClient.Counter({ name, help, registers, labelNames: labelsOf(name), collect () { fill(this, rows(), (labels, value) => this.inc(labels, value)) } })
  }

  gauge ({ name, help, rows }: Family<Row>): void {
    const registers = [this.registry]
    // eslint-disable-next-line no-new
    new this.#promClient.Gauge({ name, help, registers, labelNames: labelsOf(name), collect () { fill(this, rows(), (labels, value) => this.set(labels, value)) } })
  }

  histogram (family: Family<HistogramRow>): void {
    // The parameter type lists prom-client's classes, but a registry uses only `name` and `get`.
    this.registry.registerMetric(new CountedHistogram(family) as never)
  }

  /** @returns all metrics in the Prometheus text format */
  async text (): Promise<string> {
    return `${await this.#nodeRegistry.metrics()}\n${await this.registry.metrics()}`
  }
}

function fill (metric: { reset (): void }, rows: readonly Row[], add: (labels: Row[0], value: number) => void): void {
  metric.reset()
  for (const [labels, value] of rows) add(labels, value)
}

/** Labels of each metric; the documentation and the Grafana dashboard depend on them. */
const labelNames: Readonly<Record<string, readonly string[]>> = {
  prism_build_info: ['version', 'commit'],
  prism_redis_command_errors_total: ['command', 'script'],
  prism_http_requests_total: ['method', 'route', 'status', 'cache'],
  prism_cache_requests_total: ['outcome'],
  prism_cache_events_total: ['event'],
  prism_rate_limit_decisions_total: ['policy', 'outcome'],
  prism_session_operations_total: ['operation', 'outcome'],
  prism_events_total: ['outcome'],
  prism_live_connections: ['transport'],
  prism_keyspace_keys: ['namespace'],
  prism_keyspace_memory_bytes: ['namespace'],
  prism_keyspace_ttl_ratio: ['namespace', 'within'],
  prism_alert_firing: ['alert', 'severity'],
  prism_redis_unusable: ['holds', 'reason'],
  redis_instance_info: ['node', 'redis_version', 'role', 'maxmemory_policy'],
  prism_redis_server_latency_seconds: ['cmd', 'percentile']
}
const redisLabels = ['node']

function labelsOf (name: string): string[] {
  return [...labelNames[name] ?? (/^redis_|_(?:limit|other|lag)_bytes$/.test(name) ? redisLabels : [])]
}

/** A histogram over external counts: prom-client's own hashes the labels with each observation. */
class CountedHistogram {
  readonly name: string
  readonly #help: string
  readonly #rows: () => readonly HistogramRow[]

  constructor ({ name, help, rows }: Family<HistogramRow>) {
    this.name = name
    this.#help = help
    this.#rows = rows
  }

  /** Called by the registry on each scrape. */
  async get () {
    const values = this.#rows().flatMap(([labels, histogram]) => this.#values(labels, histogram))
    return { name: this.name, help: this.#help, type: 'histogram', aggregator: 'sum', values }
  }

  #values (labels: HistogramRow[0], { counts, sumSeconds }: HistogramRow[1]) {
    let sum = 0
    const buckets = counts.map((count, index) => {
      sum += count
      return { metricName: `${this.name}_bucket`, labels: { ...labels, le: String(bounds[index] ?? '+Inf') }, value: sum }
    })
    return [...buckets, { metricName: `${this.name}_sum`, labels, value: sumSeconds }, { metricName: `${this.name}_count`, labels, value: sum }]
  }
}

/** Redis's figures: what redis_exporter has too is under its name, all others begin with `prism_`. Of a Cluster each node has its own. */
export function exposeRedis (registry: MetricsRegistry, collector: RedisCollector): void {
  const ofNodes = (rows: (sample: NodeSample) => Row[]) => () => (collector.sample?.nodes ?? []).flatMap((sample) => rows(sample).map(([labels, value]): Row => [{ ...nodeLabel(sample), ...labels }, value]))
  const ofSample = (rows: (sample: Sample) => Row[]) => () => collector.sample === undefined ? [] : rows(collector.sample)
  registry.gauge({ name: 'redis_up', help: '1 while this process reaches Redis, in a Cluster every master.', rows: () => [[{}, Number(collector.isUp)]] })
  for (const { name, help, type } of redisFigures) {
    registry[type]({ name, help, rows: ofNodes(({ figures: { [name]: value } }) => value === undefined ? [] : [[{}, value]]) })
  }
  registry.gauge({ name: 'prism_redis_memory_limit_bytes', help: 'Memory limit of Redis: maxmemory, or REDIS_MEMORY_LIMIT if that is 0.', rows: ofNodes(({ figures: { [memoryLimit]: limit } }) => limit === undefined ? [] : [[{}, limit]]) })
  registry.gauge({ name: 'prism_redis_memory_other_bytes', help: 'Memory in use except for cached responses; estimated.', rows: ofNodes(({ figures: { [memoryOther]: other } }) => other === undefined ? [] : [[{}, other]]) })
  registry.gauge({ name: 'redis_instance_info', help: 'Version, role and eviction policy of the server; always 1.', rows: ofNodes(({ version, role, memoryPolicy }) => [[{ redis_version: version, role, maxmemory_policy: memoryPolicy }, 1]]) })
  registry.gauge({ name: 'redis_slowlog_length', help: 'Commands in the slow log.', rows: ofNodes(({ slowLogLength }) => [[{}, slowLogLength]]) })
  registry.gauge({ name: 'prism_redis_server_latency_seconds', help: 'Command latency inside the server since its start, in a Cluster of the slowest node; the 20 most frequent commands.', rows: ofSample(({ latencies }) => latencies.flatMap(({ command, p50Seconds, p99Seconds }): Row[] => [[{ cmd: command, percentile: '50' }, p50Seconds], [{ cmd: command, percentile: '99' }, p99Seconds]])) })
  registry.gauge({ name: 'prism_keyspace_keys', help: 'Keys per namespace; estimated.', rows: ofSample(({ namespaces }) => namespaces.map(({ namespace, keys }) => [{ namespace }, keys])) })
  registry.gauge({ name: 'prism_keyspace_memory_bytes', help: 'Memory per namespace; estimated.', rows: ofSample(({ namespaces }) => namespaces.map(({ namespace, bytes }) => [{ namespace }, bytes])) })
  registry.gauge({ name: 'prism_keyspace_ttl_ratio', help: 'Ratio of keys per namespace that expire within a time (seconds), later, or never; estimated.', rows: ofSample(({ namespaces }) => namespaces.flatMap(lifetimeRows)) })
}

/** A single server has no `node` label, as in redis_exporter. */
function nodeLabel ({ node }: NodeSample): Row[0] {
  return node === '' ? {} : { node }
}

const lifetimeNames = [...lifetimeBounds.map(String), 'later', 'never']

function lifetimeRows ({ namespace, lifetimes }: { namespace: string, lifetimes: readonly number[] }): Row[] {
  const probed = lifetimes.reduce((sum, count) => sum + count, 0)
  return probed === 0 ? [] : lifetimes.map((count, index) => [{ namespace, within: lifetimeNames[index] ?? '' }, count / probed])
}
