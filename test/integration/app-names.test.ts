import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fastify from 'fastify'
import t from 'tap'
import type { RedisOptions } from '../../plugins/redis.ts'
import redis from '../../plugins/redis.ts'
import { defaultAppName } from '../../src/redis/app-announcer.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { finding, well } from '../support/cli.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

interface Line { msg: string, app?: string, others?: string[] }

async function startApp (owner: Owner, options: RedisOptions) {
  const lines: Line[] = []
  const app = fastify({ logger: { level: 'warn', stream: { write: (line) => { lines.push(JSON.parse(line) as Line) } } } })
  owner.after(() => app.close())
  await app.register(redis, options)
  await app.ready()
  return { app, warnings: () => lines.filter(({ msg }) => msg.startsWith('Another app uses')) }
}

t.test('an app that finds another app under its key prefix reports it in the log, and the doctor command reports it too', async (t) => {
  const { url, client } = await startRedis(t, { args: well })
  await startApp(t, { url, app: 'shop' })
  await until(async () => await client.hlen('prism:_apps') === 1, { what: 'the first app is announced' })
  t.match(await finding(url, 'apps'), { state: 'fine', says: /One app/ })
  const blog = await startApp(t, { url, app: 'blog' })

  await until(() => blog.warnings().length > 0, { what: 'the second app warns' })
  t.match(blog.warnings(), [{ app: 'blog', others: ['shop'], msg: /redis\.prefix/ }])
  t.match(await finding(url, 'apps'), { state: 'warning', says: /2 apps .*: blog, shop/, change: /redis\.prefix/ })
  t.ok(await client.pttl('prism:_apps') > 0, 'the key expires')
})

t.test('processes of one app, apps with prefixes of their own, and an app that has stopped cause no warning', async (t) => {
  const { url, client } = await startRedis(t)
  await client.hset('prism:_apps', { gone: Date.now() - 3_600_000, broken: 'x' })
  const apps = [await startApp(t, { url, app: 'shop' }), await startApp(t, { url, app: 'shop' }), await startApp(t, { url }), await startApp(t, { url, app: 'blog', prefix: 'blog:' })]
  await client.hdel('prism:_apps', defaultAppName())
  const again = await startApp(t, { url, app: 'shop' })

  await until(async () => await client.hlen('blog:prism:_apps') === 1 && await client.hlen('prism:_apps') === 1, { what: 'all are announced' })
  await again.app.redisPool.batch.command('PING', [], 'background')
  t.same([apps[0], apps[1], apps[3], again].map((each) => each?.warnings().length), [0, 0, 0, 0])
})

t.test('the default name of an app is that of its package, for its replicas and its next release too', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prism-app-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const release of ['1', '2']) {
    mkdirSync(join(folder, release, 'dist', 'node_modules', 'cli'), { recursive: true })
    writeFileSync(join(folder, release, 'package.json'), '{ "name": "shop" }')
    writeFileSync(join(folder, release, 'dist', 'package.json'), '{ "type": "module" }')
    writeFileSync(join(folder, release, 'dist', 'node_modules', 'cli', 'package.json'), '{ "name": "cli" }')
  }

  t.equal(defaultAppName(join(folder, '1', 'dist', 'main.js'), '/'), 'shop')
  t.equal(defaultAppName(join(folder, '2', 'dist', 'main.js'), '/'), 'shop')
  t.equal(defaultAppName(join(folder, '1', 'dist', 'node_modules', 'cli', 'bin.js'), join(folder, '1')), 'shop', 'started by a tool')
  t.equal(defaultAppName('', join(folder, '1', 'dist')), 'shop')
  t.match(defaultAppName('', '/'), /^unnamed-[0-9a-f]{8}$/)
})
