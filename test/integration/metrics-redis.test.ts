import t from 'tap'
import { buildTestApp } from '../support/app.ts'
import { aclUser } from '../support/acl.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** Names and types of redis_exporter (exporter/exporter.go and exporter/slowlog.go, 2026-11) that the service exports too. */
const exporterNames: Readonly<Record<string, 'counter' | 'gauge'>> = {
  redis_up: 'gauge',
  redis_uptime_in_seconds: 'gauge',
  redis_memory_used_bytes: 'gauge',
  redis_memory_max_bytes: 'gauge',
  redis_memory_used_rss_bytes: 'gauge',
  redis_mem_fragmentation_ratio: 'gauge',
  redis_connected_clients: 'gauge',
  redis_blocked_clients: 'gauge',
  redis_connected_slaves: 'gauge',
  redis_master_link_up: 'gauge',
  redis_master_last_io_seconds_ago: 'gauge',
  redis_rdb_changes_since_last_save: 'gauge',
  redis_rdb_last_bgsave_status: 'gauge',
  redis_aof_last_write_status: 'gauge',
  redis_connections_received_total: 'counter',
  redis_rejected_connections_total: 'counter',
  redis_commands_processed_total: 'counter',
  redis_keyspace_hits_total: 'counter',
  redis_keyspace_misses_total: 'counter',
  redis_expired_keys_total: 'counter',
  redis_evicted_keys_total: 'counter',
  redis_evicted_clients_total: 'counter',
  redis_net_input_bytes_total: 'counter',
  redis_net_output_bytes_total: 'counter',
  redis_instance_info: 'gauge',
  redis_slowlog_length: 'gauge'
}

t.test('a metric that begins with redis_ has a name and a type of redis_exporter', async (t) => {
  const app = await buildTestApp(t)

  const exported = [...(await app.metrics.registry.text()).matchAll(/^# TYPE (redis_\S+) (\S+)$/gm)].map(([, name, type]) => [name, type])

  t.same(Object.fromEntries(exported), exporterNames)
})

t.test('each process knows the others, and a process that has closed is gone after its lifetime', async (t) => {
  const { url } = await startRedis(t)
  const build = { version: '2.0.0', commit: 'abcdef0' }
  const first = await buildTestApp(t, { redisUrl: url, metricsEvery: '50ms' })
  const second = await buildTestApp(t, { redisUrl: url, metricsEvery: '50ms', build })

  const all = await until(() => first.metrics.presence.all?.length === 2 && first.metrics.presence.all, { what: 'the first process knows both' })
  t.same(all.map(({ id }) => id), [first.metrics.presence.own.id, second.metrics.presence.own.id], 'oldest first')
  t.match(all[1], build)
  await second.close()
  await until(() => first.metrics.presence.all?.length === 1, { what: 'the second process is gone' })
})

t.test('the processes are unknown while Redis cannot be read', async (t) => {
  const redis = await startRedis(t)
  const app = await buildTestApp(t, { redisUrl: redis.url, metricsEvery: '50ms' })
  await until(() => app.metrics.presence.all?.length === 1, { what: 'the process is listed' })

  await redis.kill()
  await until(() => app.metrics.presence.all === undefined, { what: 'the processes are unknown' })
})

t.test('the slow log shows commands, scripts by name and namespaces, never a key, a value or an address', async (t) => {
  const redis = await startRedis(t, { args: ['--slowlog-log-slower-than', '0'] })
  await redis.client.set('session:{secret-user}', 'secret-value')
  const app = await buildTestApp(t, { redisUrl: redis.url, metricsEvery: '50ms' })
  await until(() => app.metrics.collector.sample?.nodes[0]?.slowLog?.length, { what: 'a slow log' })
  const seen = new Set<string>()
  let text = ''
  const look = (): void => {
    const slowLog = app.metrics.collector.sample?.nodes[0]?.slowLog
    if (!Array.isArray(slowLog)) return
    for (const { command, namespace } of slowLog) seen.add(`${command} ${namespace}`)
    text += JSON.stringify(slowLog)
  }
  // The latest ten entries are read, and the commands of one collection are about ten: the log is filled with this command until it is seen, and then no more.
  await until(async () => {
    for (let count = 0; count < 50; count++) await redis.client.set('session:{secret-user}', 'secret-value')
    look()
    return seen.has('set session')
  }, { what: 'a command of a client in the slow log', everyMs: 0 })
  await until(() => {
    look()
    return seen.has('evalsha presence events') && [...seen].some((each) => each.startsWith('info'))
  }, { what: 'commands of the service in the slow log' })

  t.notMatch(text, /secret|127\.0\.0\.1/)
})

t.test('a slow log that the ACL denies is reported as denied, and the other figures are collected', async (t) => {
  const redis = await startRedis(t, { args: aclUser({ name: 'app', password: 'pw', rules: ['~*', '&*', '+@all', '-slowlog'] }) })
  const app = await buildTestApp(t, { redisUrl: redis.url.replace('redis://', 'redis://app:pw@'), metricsEvery: '50ms' })

  const sample = await until(() => app.metrics.collector.sample, { what: 'a sample' })
  t.equal(sample.nodes[0]?.slowLog, 'denied')
  t.ok(sample.nodes[0]?.figures.redis_memory_used_bytes)
})
