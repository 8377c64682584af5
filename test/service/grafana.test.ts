import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildTestApp } from '../support/app.ts'
import { until } from '../support/until.ts'

interface Dashboard { panels: { title: string, type: string, description?: string, targets?: { expr: string }[] }[] }

const dashboard: Dashboard = JSON.parse(readFileSync(join(import.meta.dirname, '../../grafana/prism.json'), 'utf8'))
const panels = dashboard.panels.filter(({ type }) => type !== 'row')

t.test('the Grafana dashboard uses only metrics of the service', async (t) => {
  const app = await buildTestApp(t)
  await app.inject('/cities/2988507')
  await until(() => app.metrics.collector.sample, { what: 'a sample of Redis' })

  const names = new Set([...(await app.metrics.registry.text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
  const used = panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => expr.match(/\b(?:prism|redis|nodejs|process)_\w+/g) ?? []))
  const own = used.filter((name) => /^(?:prism|redis)_/.test(name))

  t.ok(own.length > 25)
  t.same(own.filter((name) => !names.has(name) && !names.has(name.replace(/_(bucket|sum|count)$/, ''))), [])
})

t.test('each Grafana panel has a query and a description, and no panel is duplicated', async (t) => {
  const titles = panels.map(({ title }) => title)

  t.same(panels.filter(({ targets = [], description = '' }) => targets.length === 0 || description === '').map(({ title }) => title), [])
  t.equal(new Set(titles).size, titles.length)
})

t.test('the memory panel shows the limit that the alerts use, also where Redis has no maxmemory', async (t) => {
  const app = await buildTestApp(t, { redisMemoryBytes: 256 * 1024 ** 2, metricsEvery: '100ms' })
  await until(() => app.metrics.collector.sample, { what: 'a sample of Redis' })
  const memory = panels.find(({ title }) => title === 'Redis memory')

  t.ok(memory?.targets?.some(({ expr }) => expr.includes('prism_redis_memory_limit_bytes')))
  t.match(await app.metrics.registry.text(), /^prism_redis_memory_limit_bytes 268435456$/m)
})
