import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { readme, readmeModules, tableOf } from '../support/readme.ts'
import { reached, unlessLate } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

const root = join(import.meta.dirname, '../..')
const { exports: entries } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: Record<string, { default: string }> }
const redis = await startRedis(t)
process.env.REDIS_URL = redis.url
process.env.SESSION_SECRET = 'a secret of the tests: 32 or more'

const folder = mkdtempSync(join(tmpdir(), 'prism-readme-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'dir')

/** The app of one of the README's blocks, run from the sources as they are. */
async function appOf (block: RegExp): Promise<FastifyInstance> {
  const index = readmeModules().findLastIndex((module) => block.test(module))
  const file = join(folder, `block-${index}.ts`)
  writeFileSync(file, (readmeModules()[index] ?? '').replaceAll(/'fastify-prism(\/[a-z-]+)?'/g, (_, part = '') => `'${sourceOf(`.${part}`)}'`).replace('{ logger: true }', '{}'))
  const { app }: { app: FastifyInstance } = await import(pathToFileURL(file).href)
  t.teardown(() => app.close())
  await reached(app)
  return app
}

function sourceOf (entry: string): string {
  return pathToFileURL(join(root, (entries[entry]?.default ?? '').replace('./dist/', '').replace(/\.js$/, '.ts'))).href
}

async function signIn (app: FastifyInstance, name: string): Promise<{ cookie: string }> {
  const answer = await unlessLate(() => app.inject({ method: 'POST', url: `/sign-in/${name}` }))
  return { cookie: String(answer.headers['set-cookie']).split(';')[0] ?? '' }
}

async function hit (app: FastifyInstance, url: string, headers: { cookie: string }): Promise<unknown> {
  return await until(async () => {
    const answer = await app.inject({ url, headers })
    return /; *hit/.test(String(answer.headers['cache-status'])) ? answer.json() : undefined
  }, { what: `${url} is answered from the store` })
}

t.test('README shows a route that is limited, wants a session, and is kept for each user', async (t) => {
  const app = await appOf(/sign-in/)
  const [ada, bob] = [await signIn(app, 'ada'), await signIn(app, 'bob')]

  const stranger = await app.inject('/places')
  const first = await app.inject({ url: '/places', headers: ada })
  const [forAda, again, forBob] = [await hit(app, '/places', ada), await hit(app, '/places', ada), await hit(app, '/places', bob)]

  t.equal(stranger.statusCode, 401)
  t.match(first.headers['ratelimit-policy'], '"default";q=100;w=60, "route";q=30;w=60')
  t.match(forAda, { of: 'ada' })
  t.same(again, forAda)
  t.match(forBob, { of: 'bob' })
})

t.test('README shows a route of five lines that inherits cache, limit and session', async (t) => {
  const app = await appOf(/my\/places/)
  const ada = await signIn(app, 'ada')

  const stranger = await app.inject('/my/places/7')
  const first = await app.inject({ url: '/my/places/7', headers: ada })

  t.equal(stranger.statusCode, 401)
  t.match(first.headers['ratelimit-policy'], '"route";q=30;w=60')
  t.same(await hit(app, '/my/places/7', ada), { id: '7', of: 'ada' })
})

t.test('README shows the parts one by one', async (t) => {
  const app = await appOf(/fastify-prism\/session/)
  await app.ready()

  t.same(['redis', 'sessions', 'cache', 'events', 'requestLifecycle'].filter((name) => !app.hasDecorator(name)), [])
  t.ok(app.hasRequestDecorator('rateLimit'))
})

t.test('README shows what a session holds', async (t) => {
  const app = await appOf(/cart\/:thing/)

  const answer = await app.inject({ method: 'POST', url: '/cart/tea' })

  t.same(answer.json(), { cart: ['tea'] })
})

t.test('README names each variable of the environment', async (t) => {
  const config = readFileSync(join(root, 'service/config.ts'), 'utf8')
  const read = [...config.matchAll(/\bread(?:<[^(]*>)?\('([A-Z_]+)'/g)].map(([, name]) => name)

  t.same(tableOf('variable').flatMap(([names = '']) => names.split(', ')).sort(), [...new Set(read)].sort())
})

t.test('README names each option, by what refuses the others', async (t) => {
  const told = tableOf('option').flatMap(([names = '']) => names.split(', '))
  const known = (file: string, pattern: RegExp) => [...readFileSync(join(root, file), 'utf8').match(pattern)?.[1]?.matchAll(/'(\w+)'/g) ?? []].map(([, name]) => name)
  const read = [
    ...known('src/redis/options.ts', /readRecord\('redis', options, (\[.*?\])/).map((name) => `redis.${name}`),
    ...known('src/session/options.ts', /readRecord\('session', options, (\[.*?\])/).map((name) => `session.${name}`),
    ...known('src/cache/options.ts', /readRecord\('cache', options, (\[.*?\])/).map((name) => `cache.${name}`),
    ...known('src/rate-limit/options.ts', /houseNames = (\[.*?\])/).map((name) => `rateLimit.${name}`),
    ...known('src/events/options.ts', /readRecord\('events', options, (\[.*?\])/).map((name) => `events.${name}`)
  ]

  t.ok(read.length > 20)
  t.same(read.filter((name) => !told.includes(name)), [])
})

t.test('README names each option of a route', async (t) => {
  const lines = readme.slice(readme.indexOf('Of a route, in `config`'), readme.indexOf('In depth:'))
  const known = (file: string, pattern: RegExp, concern: string) => [...readFileSync(join(root, file), 'utf8').match(pattern)?.[1]?.matchAll(/'(\w+)'/g) ?? []].map(([, name]) => `\`${concern}.${name}\``)
  const read = [...known('src/cache/options.ts', /const known = (\[.*?\])/, 'cache'), ...known('src/rate-limit/options.ts', /choiceNames = (\[.*?\])/, 'rateLimit')]

  t.ok(read.length > 15)
  t.same(read.filter((name) => !lines.includes(name)), [])
})

t.test('README names each decorator of the stack', async (t) => {
  const told = tableOf('decorator').map(([name = '']) => /^\w+\.\w+/.exec(name)?.[0])
  const owners: Record<string, string> = { decorate: 'fastify', decorateRequest: 'request', decorateReply: 'reply' }
  const files = ['connection-limits', 'redis', 'request-lifecycle', 'rate-limit', 'session', 'cache', 'events'].map((name) => readFileSync(join(root, `plugins/${name}.ts`), 'utf8'))
  const made = files.flatMap((file) => [...file.matchAll(/fastify\.(decorate\w*)\('(\w+)'/g)].map(([, how = '', name]) => `${owners[how]}.${name}`))

  t.same(told.sort(), [...made, 'fastify.redis'].sort())
})

t.test('README names each metric of ours', async (t) => {
  const files = ['src/metrics/process-metrics.ts', 'src/metrics/registry.ts', 'service/plugins/alerts.ts'].filter((file) => existsSync(join(root, file)))
  const made = files.flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(/name: '(prism_\w+)'/g)].map(([, name]) => name))

  t.same(tableOf('metric').map(([name]) => name).sort(), [...new Set(made)].sort())
})

t.test("README names each command of the operators' program", async (t) => {
  const usages = globSync('src/cli/*.ts', { cwd: root }).flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(/usage: '([^']+)'/g)].map(([, usage = '']) => usage))

  t.ok(usages.length > 0)
  t.same(usages.filter((usage) => !readme.includes(`| \`${usage}\` |`)), [])
})

t.test('README links to what is there', async (t) => {
  const targets = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, target = '']) => target)

  t.same(targets.filter((target) => !existsSync(join(root, target))), [])
})
