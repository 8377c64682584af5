import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, posix } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { documentOf, readme, readmeModules, tableOf } from '../support/readme.ts'
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

/** The app of the last matching code block, run from the sources, and connected to Redis. */
async function appOf (block: RegExp): Promise<FastifyInstance> {
  const app = await startOf(block)
  await reached(app)
  return app
}

let started = 0

async function startOf (block: RegExp): Promise<FastifyInstance> {
  const index = readmeModules().findLastIndex((module) => block.test(module))
  const file = join(folder, `block-${index}-${++started}.ts`)
  writeFileSync(file, (readmeModules()[index] ?? '').replaceAll(/'fastify-prism(\/[a-z-]+)?'/g, (_, part = '') => `'${sourceOf(`.${part}`)}'`).replace('{ logger: true }', '{}'))
  const { app }: { app: FastifyInstance } = await import(pathToFileURL(file).href)
  t.teardown(() => app.close())
  return app
}

function sourceOf (entry: string): string {
  return pathToFileURL(join(root, (entries[entry]?.default ?? '').replace('./dist/', '').replace(/\.js$/, '.ts'))).href
}

async function signIn (app: FastifyInstance, name: string): Promise<{ cookie: string }> {
  const response = await unlessLate(() => app.inject({ method: 'POST', url: `/sign-in/${name}` }))
  return { cookie: String(response.headers['set-cookie']).split(';')[0] ?? '' }
}

async function hit (app: FastifyInstance, url: string, headers: { cookie: string }): Promise<unknown> {
  return await until(async () => {
    const response = await app.inject({ url, headers })
    return /; *hit/.test(String(response.headers['cache-status'])) ? response.json() : undefined
  }, { what: `${url} is served from the cache` })
}

t.test('the README usage example limits a route, requires a session, and caches for each user', async (t) => {
  const app = await appOf(/sign-in/)
  const [ada, bob] = [await signIn(app, 'ada'), await signIn(app, 'bob')]

  const anonymous = await app.inject('/places')
  const first = await app.inject({ url: '/places', headers: ada })
  const [forAda, again, forBob] = [await hit(app, '/places', ada), await hit(app, '/places', ada), await hit(app, '/places', bob)]

  t.equal(anonymous.statusCode, 401)
  t.match(first.headers['ratelimit-policy'], '"default";q=100;w=60, "route";q=30;w=60')
  t.match(forAda, { of: 'ada' })
  t.same(again, forAda)
  t.match(forBob, { of: 'bob' })
})

t.test('the README cache example caches for each signed-in user, and purges', async (t) => {
  const app = await appOf(/my\/places/)
  const ada = await signIn(app, 'ada')

  const anonymous = await app.inject('/my/places/7')

  t.equal(anonymous.statusCode, 401)
  t.same(await hit(app, '/my/places/7', ada), { id: '7', of: 'ada' })

  const purged = await app.inject({ method: 'PUT', url: '/my/places/7', headers: ada })
  const after = await app.inject({ url: '/my/places/7', headers: ada })

  t.equal(purged.statusCode, 200)
  t.notMatch(String(after.headers['cache-status']), /; *hit/)
})

t.test('docs/integration.md registers the stack behind cors, helmet and websocket', async (t) => {
  const app = await appOf(/register\(cors/)
  const origin = 'https://spa.example'

  const { statusCode, headers } = await app.inject({ url: '/members', headers: { origin } })
  const preflight = await app.inject({ method: 'OPTIONS', url: '/members', headers: { origin, 'access-control-request-method': 'GET' } })

  t.equal(statusCode, 401)
  t.match(headers, { 'access-control-allow-origin': origin, 'content-security-policy': /default-src/, 'ratelimit-policy': /q=100/ })
  t.equal(preflight.statusCode, 204)
})

t.test('docs/integration.md registers the parts one by one', async (t) => {
  const app = await appOf(/fastify-prism\/session/)
  await app.ready()

  t.same(['redis', 'sessions', 'cache', 'events', 'requestLifecycle'].filter((name) => !app.hasDecorator(name)), [])
  t.ok(app.hasRequestDecorator('rateLimit'))
})

t.test('docs/recipes.md responds to health checks, and says what is wrong while Redis is unavailable', async (t) => {
  const app = await appOf(/health\/ready/)

  const [live, ready] = [await app.inject('/health/live'), await app.inject('/health/ready')]
  t.same([live.json(), ready.json()], [{ status: 'live' }, { status: 'ready' }])
  t.match(ready.headers, { 'cache-control': 'no-store', 'ratelimit-policy': undefined })

  process.env.REDIS_URL = 'redis://127.0.0.1:1'
  t.teardown(() => { process.env.REDIS_URL = redis.url })
  const without = await startOf(/health\/ready/)
  const degraded = await without.inject('/health/ready')
  t.same([degraded.statusCode, degraded.json().status, degraded.json().reason.code], [200, 'degraded', 'connection_refused'])
})

t.test('docs/recipes.md sends problem documents for errors of the package, of Fastify and of the app', async (t) => {
  const app = await appOf(/setErrorHandler/)
  const get = async (url: string) => await app.inject({ url, remoteAddress: '192.0.2.1' }) // its quota is used up
  const problem = async (url: string) => {
    const { statusCode, headers, payload } = await get(url)
    t.match(headers, { 'content-type': 'application/problem+json', 'cache-control': 'no-store' }, url)
    const { code, instance } = JSON.parse(payload)
    return [statusCode, code, typeof instance]
  }

  t.same(await problem('/nowhere'), [404, 'PRISM_ERR_NOT_FOUND', 'string'])
  t.same(await problem('/tea'), [409, 'PRISM_ERR_REQUEST', 'string'])
  t.match((await get('/tea')).json(), { detail: 'Tea is sold out.', reason: 'sold_out' })
  await until(async () => (await get('/nowhere')).statusCode === 429, { what: 'the quota is used up' })
  t.same(await problem('/nowhere'), [429, 'PRISM_ERR_QUOTA_EXCEEDED', 'string'])
  t.match((await get('/nowhere')).headers, { 'retry-after': /^\d+$/ })
})

t.test('docs/recipes.md documents the policies of a route in its OpenAPI document', async (t) => {
  const app = await appOf(/fastify\/swagger/)

  const { paths } = (await app.inject('/docs/json')).json()
  t.match(paths['/places'].get, {
    summary: 'Places of the user',
    'x-policies': { session: { use: 'required' }, cache: { ttlMs: 600_000, partition: 'user' }, rateLimit: [{ name: 'default', quota: 100 }, { name: 'route', quota: 30 }] }
  })
  t.equal((await app.inject('/docs/')).statusCode, 200)
  t.equal((await app.inject('/places')).statusCode, 401)
})

t.test('the README session example stores typed values', async (t) => {
  const app = await appOf(/cart\/:thing/)

  const response = await app.inject({ method: 'POST', url: '/cart/tea' })

  t.same(response.json(), { cart: ['tea'] })
})

t.test('the README rate limit example has a quota and a concurrency limit', async (t) => {
  const app = await appOf(/'\/reports'/)

  const response = await app.inject({ method: 'POST', url: '/reports' })

  t.same(response.json(), { isQueued: true })
  t.match(response.headers['ratelimit-policy'], '"route";q=5;w=3600')
  t.match(response.headers['ratelimit-policy'], 'q=2;qu="concurrent-requests"')
})

t.test('the README events example publishes an event', async (t) => {
  const app = await appOf(/'orders'/)

  const response = await app.inject({ method: 'POST', url: '/orders/7/paid' })

  t.match(response.json(), { id: /^\d+-\d+$/ })
})

t.test('the README has at most 150 lines', async (t) => {
  t.ok(readme.split('\n').length <= 151)
})

t.test('docs/configuration.md lists each environment variable', async (t) => {
  const config = readFileSync(join(root, 'service/config.ts'), 'utf8')
  const build = readFileSync(join(root, 'service/build.ts'), 'utf8')
  const read = [...config.matchAll(/\bread(?:<[^(]*>)?\('([A-Z_]+)'/g), ...build.matchAll(/environment\.([A-Z_]+)/g)].map(([, name]) => name)

  t.same(tableOf('docs/configuration.md', 'variable').flatMap(([names = '']) => names.split(', ')).sort(), [...new Set(read)].sort())
})

/** The option names that a file accepts, from its list of names. */
function accepted (part: string, file: string, pattern: RegExp): string[] {
  return [...readFileSync(join(root, file), 'utf8').match(pattern)?.[1]?.matchAll(/'(\w+)'/g) ?? []].map(([, name = '']) => `${part}.${name}`)
}

/** The options that the table lists for a place where they are set. */
function documented (setOn: string): string[] {
  return tableOf('docs/options.md', 'option').filter(([, places = '']) => places.split(', ').includes(setOn)).flatMap(([names = '']) => names.split(', ')).filter((name) => name.includes('.'))
}

const choices = accepted('rateLimit', 'src/rate-limit/options.ts', /choiceNames = (\[.*?\])/)

t.test('docs/options.md lists each option of the stack, and no other', async (t) => {
  const read = [
    ...accepted('redis', 'src/redis/options.ts', /readRecord\('redis', options, (\[.*?\])/),
    ...accepted('session', 'src/session/options.ts', /readRecord\('session', options, (\[.*?\])/),
    ...accepted('session.cookie', 'src/session/options.ts', /readRecord\('session.cookie', cookie, (\[.*?\])/),
    ...accepted('cache', 'src/cache/options.ts', /readRecord\('cache', options, (\[.*?\])/),
    ...choices.filter((name) => name !== 'rateLimit.group'),
    ...accepted('rateLimit', 'src/rate-limit/options.ts', /globalNames = (\[.*?\])/),
    ...accepted('events', 'src/events/options.ts', /readRecord\('events', options, (\[.*?\])/),
    ...accepted('connections', 'plugins/connection-limits.ts', /readRecord\('connections', options, (\[.*?\])/)
  ]

  t.same(documented('stack').sort(), read.sort())
})

t.test('docs/options.md lists each option of a route, and no other', async (t) => {
  const read = [...accepted('cache', 'src/cache/options.ts', /const routeOptions = (\[.*?\])/), ...choices, 'session.trustedOrigins']

  t.same(documented('route').sort(), read.sort())
})

t.test('docs/options.md lists each option of live connections, and no other', async (t) => {
  t.same(documented('live').sort(), accepted('live', 'src/live/options.ts', /readRecord\('live', options, (\[.*?\])/).sort())
})

t.test('docs/options.md lists each option of the metrics, and no other', async (t) => {
  t.same(documented('metrics').sort(), accepted('metrics', 'plugins/metrics.ts', /readRecord\('metrics', options, (\[.*?\])/).sort())
})

t.test('docs/api.md lists each entry point', async (t) => {
  const names = Object.keys(entries).filter((name) => name !== './package.json').map((name) => `fastify-prism${name.slice(1)}`)

  t.same(tableOf('docs/api.md', 'import').map(([name]) => name).sort(), names.sort())
})

t.test('docs/api.md lists each public decorator', async (t) => {
  const listed = tableOf('docs/api.md', 'decorator').map(([name = '']) => /^\w+\.\w+/.exec(name)?.[0])
  const owners: Record<string, string> = { decorate: 'fastify', decorateRequest: 'request', decorateReply: 'reply' }
  const files = ['connection-limits', 'redis', 'request-lifecycle', 'rate-limit', 'session', 'cache', 'events', 'live', 'metrics'].map((name) => readFileSync(join(root, `plugins/${name}.ts`), 'utf8'))
  const made = files.flatMap((file) => [...file.matchAll(/fastify\.(decorate\w*)\('(\w+)'/g)].map(([, how = '', name]) => `${owners[how]}.${name}`))

  t.same(listed.sort(), [...made, 'fastify.redis'].sort())
})

t.test('docs/metrics.md lists each metric', async (t) => {
  const files = ['src/metrics/process-metrics.ts', 'src/metrics/registry.ts', 'src/metrics/redis-info.ts', 'service/plugins/alerts.ts'].filter((file) => existsSync(join(root, file)))
  const made = files.flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(/(?:name: |(?:gauge|counter)\()'(prism_\w+)'/g)].map(([, name]) => name))

  t.same(tableOf('docs/metrics.md', 'metric').map(([name]) => name).sort(), [...new Set(made)].sort())
})

t.test('docs/operations.md lists each CLI command', async (t) => {
  const usages = globSync('{src/cli,service}/**/*.ts', { cwd: root, exclude: ['service/node_modules/**'] }).flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(/usage: '([^']+)'/g)].map(([, usage = '']) => usage))

  t.ok(usages.length > 0)
  t.same(usages.filter((usage) => !documentOf('docs/operations.md').includes(`| \`${usage}\` |`)), [])
})

const documents = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', ...globSync('docs/**/*.md', { cwd: root }).map((file) => file.replaceAll('\\', '/'))]
const links = documents.flatMap((document) => [...documentOf(document).matchAll(/\]\(([^)#:\s]*)(?:#([\w-]+))?\)/g)]
  .map(([, path = '', anchor]) => ({ document, target: path === '' ? document : posix.join(posix.dirname(document), path), anchor })))

/** The anchor of a heading, as GitHub generates it. */
function anchorOf (heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, '').trim().replace(/\s/g, '-')
}

t.test('documents link to files and headings that exist', async (t) => {
  const isBroken = ({ target, anchor }: { target: string, anchor: string | undefined }) => !existsSync(join(root, target)) ||
    (anchor !== undefined && ![...documentOf(target).matchAll(/^#+ (.+)$/gm)].some(([, heading = '']) => anchorOf(heading) === anchor))

  t.ok(links.length > 50)
  t.same(links.filter(isBroken), [])
})

t.test('ARCHITECTURE.md and docs/cache.md name test files that exist', async (t) => {
  const named = ['ARCHITECTURE.md', 'docs/cache.md'].flatMap((path) => [...documentOf(path).matchAll(/`((?:unit|integration|property)\/[\w/-]+)`/g)].map(([, name = '']) => name))

  t.ok(named.length > 40)
  t.same(named.filter((name) => !existsSync(join(root, `test/${name}.test.ts`))), [])
})

t.test('the package contains what its documents link to', async (t) => {
  const { files } = JSON.parse(documentOf('package.json')) as { files: string[] }
  const shipped = ['README.md', 'LICENSE', 'package.json', ...files]
  const isShipped = (target: string) => shipped.some((name) => target === name || target.startsWith(`${name}/`))

  t.same(links.filter(({ document, target }) => isShipped(document) && !isShipped(target)), [])
})
