import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildTestApp } from '../support/app.ts'
import { until } from '../support/until.ts'

interface Dashboard { panels: { title: string, targets: { expr: string }[] }[] }

const dashboard: Dashboard = JSON.parse(readFileSync(join(import.meta.dirname, '../../grafana/prism.json'), 'utf8'))

t.test('Grafana dashboards use only metrics of the service', async (t) => {
  const app = await buildTestApp(t)
  await app.inject('/cities/2988507')
  await until(() => app.metrics.collector.sample, { what: 'a sample of Redis' })

  const names = new Set([...(await app.metrics.registry.text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
  const used = dashboard.panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => expr.match(/\b(?:prism|redis)_\w+/g) ?? []))
  const unknown = used.filter((name) => !names.has(name) && !names.has(name.replace(/_(bucket|sum|count)$/, '')))

  t.ok(used.length > 25)
  t.same(unknown, [])
})

t.test('each Grafana panel has a query, and no panel is duplicated', async (t) => {
  const titles = dashboard.panels.map(({ title }) => title)

  t.ok(dashboard.panels.every(({ targets }) => targets.length > 0))
  t.equal(new Set(titles).size, titles.length)
})
