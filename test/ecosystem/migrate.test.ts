import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { foreignOption } from '../../src/shared/foreign-options.ts'
import { migrated } from '../support/migrate.ts'

const packages = join(import.meta.dirname, 'node_modules')

t.test('docs/migrate.md, from @fastify/caching: the app before the diff stores the value, and lets browsers reuse the response', async (t) => {
  const app = await migrated(t, 'From @fastify/caching', 'before', packages)

  const [first, second] = [await app.inject('/cities/7'), await app.inject('/cities/7')]
  t.same([first.json(), second.json()], [{ id: '7', loads: 1 }, { id: '7', loads: 1 }])
  t.equal(first.headers['cache-control'], 'private, max-age=300')
})

t.test('each option that the types of @fastify/caching have is rejected with what to write instead', async (t) => {
  const text = readFileSync(join(packages, '@fastify/caching/types/index.d.ts'), 'utf8')
  const [, body = ''] = /interface FastifyCachingPluginOptions \{\n([\s\S]*?)^ {2}\}/m.exec(text) ?? []
  const names = [...body.matchAll(/^ {4}(\w+)\?:/gm)].map(([, name = '']) => name)

  t.ok(names.length >= 6)
  t.same(names.filter((name) => foreignOption('cache', name)?.package !== '@fastify/caching'), [])
})
