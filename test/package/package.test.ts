import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { readmeModules } from '../support/readme.ts'
import { startRedis } from '../support/redis.ts'
import { expected } from './expected.ts'
import { installPackage } from './project.ts'

t.setTimeout(600_000) // it builds, packs, installs and compiles
const [project, redis] = await Promise.all([installPackage(t), startRedis(t)])
const secret = 'a secret of the tests: 32 or more'
project.add('@fastify/cookie') // a user's own

/** Optional peers: what the entry points live and metrics need beyond the package. */
const optionalPeers = ['@fastify/websocket', 'lua-redis-wasm', 'prom-client']
/** Programs of a user of the package. Each prints its results as JSON. */
const programs = globSync('*.{ts,cjs}', { cwd: join(import.meta.dirname, 'programs') }).sort()
const textOf = (name: string) => readFileSync(join(import.meta.dirname, 'programs', name), 'utf8')
const typed = programs.filter((name) => name.endsWith('.ts'))
const withoutThem = typed.filter((name) => !['beside.ts', 'entry-points.ts', 'operations.ts', 'peers.ts', 'upgrades.ts'].includes(name))

for (const name of programs) project.write(name, textOf(name))
const shown = readmeModules().map((text, index) => [`readme-${index}.ts`, text] as const)
for (const [name, text] of shown) project.write(name, text)
const read = (file: string) => readFileSync(join(project.folder, 'node_modules/fastify-prism', file), 'utf8')
const run = (name: string) => project.run(name, { env: { REDIS_URL: redis.url, SESSION_SECRET: secret } })

/** What a file imports, opens or augments. */
function opened (text: string): string[] {
  return [...text.matchAll(/(?:from|URL\(|module) ['"](\.[^'"]+)['"]/g)].map(([, name = '']) => name)
}

t.test('the package contains the files that its entry points reach, the Lua scripts and the documents', async (t) => {
  const { files } = project

  const folders = new Set(files.filter((file) => file.startsWith('dist/src/')).map((file) => file.split('/')[2]))
  t.same([...folders].filter((name) => !name?.includes('..')).sort(), ['cache', 'cli', 'events', 'http', 'live', 'metrics', 'rate-limit', 'redis', 'route-config', 'session', 'shared'])
  t.same(files.filter((file) => /^dist\/(service|routes|test|bench|tools|\.railway)\//.test(file)), [])
  t.same(['README.md', 'LICENSE', 'CHANGELOG.md', 'package.json'].filter((file) => !files.includes(file)), [])
  t.same(['dist/src/rate-limit/consume.lua', 'dist/src/live/heartbeat.lua', 'dist/src/live/client.js', 'dist/src/metrics/lease.lua'].filter((file) => !files.includes(file)), [])
})

t.test('the package contains each file that its code opens or imports', async (t) => {
  const { files } = project

  const missing = files.filter((file) => /^dist.*\.(js|d\.ts)$/.test(file)).flatMap((file) => opened(read(file))
    .map((name) => join(file, '..', name).replaceAll('\\', '/'))
    .filter((target) => !files.includes(target) && !files.includes(target.replace(/\.ts$/, '.d.ts'))))
  t.same(missing, [])
})

t.test('package.json lists exactly the dependencies that the code imports', async (t) => {
  const { files } = project
  const imported = new Set(files.filter((file) => file.endsWith('.js')).flatMap((file) => [...read(file).matchAll(/(?: from |import\.meta\.url\)\()['"]([^.'"\s][^'"\s]*)['"]/g)].map(([, name]) => name)))
  const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(read('package.json'))
  const builtIn = [...imported].filter((name) => name?.startsWith('node:'))
  t.same([...imported].filter((name) => !builtIn.includes(name) && !Object.hasOwn(peerDependencies, name ?? '')).sort(), Object.keys(dependencies).sort())
  t.same(Object.keys(peerDependencies).sort(), [...optionalPeers, 'fastify'].sort())
  t.same(Object.keys(peerDependenciesMeta).filter((name) => peerDependenciesMeta[name].optional).sort(), optionalPeers)
  t.same(optionalPeers.filter((name) => existsSync(join(project.folder, 'node_modules', name))), [], 'users do not install what they have not requested')
})

t.test('the package has types for a strict consumer that checks declarations', async (t) => {
  t.equal(await project.check(withoutThem), '')
})

t.test("a part whose optional peer is missing, redis: 'memory' included, fails at its registration, with the command that installs it", async (t) => {
  t.same(await run('peers.ts'), [['fastify-prism/live', '@fastify/websocket'], ['fastify-prism/metrics', 'prom-client'], ["redis: 'memory'", 'lua-redis-wasm']].map(([part, peer]) => ['PRISM_ERR_PEER_MISSING', `${part} needs the package ${peer}, which is not installed: npm install ${peer}.`]))
})

t.test('every entry point has types for a strict consumer, declarations included', async (t) => {
  for (const name of [...optionalPeers, '@types/ws']) project.add(name)
  const { exports } = JSON.parse(read('package.json'))
  const names = Object.keys(exports).filter((name) => name !== './package.json').map((name) => `'fastify-prism${name.slice(1)}'`)
  t.same(names.filter((name) => !textOf('entry-points.ts').includes(`from ${name}`)), [])

  const files = typed.filter((name) => name !== 'beside.ts')
  t.equal(await project.check(files), '')
})

t.test('the examples of the README, docs/integration.md and docs/recipes.md have correct types', async (t) => {
  for (const name of ['@fastify/cors', '@fastify/helmet', '@fastify/swagger', '@fastify/swagger-ui']) project.add(name)

  t.equal(await project.check(shown.map(([name]) => name)), '')
})

t.test('the compiler rejects cache options of a wrong kind and those that contradict each other', async (t) => {
  project.write('cache-options.ts', textOf('../types/cache-options.ts'))

  t.equal(await project.check(['cache-options.ts'], { module: 'nodenext' }), '')
  t.equal(await project.check(['cache-options.ts'], { skipLibCheck: true, module: 'esnext', moduleResolution: 'bundler' }), '')
})

t.test('an app that declares its cache tags has no others', async (t) => {
  const text = textOf('../types/cache-tags.ts')
  project.write('cache-tags.ts', text)
  project.write('cache-tags-alone.ts', `import type {} from 'fastify-prism/cache'\n${text.replaceAll("module 'fastify-prism'", "module 'fastify-prism/cache'")}`)

  t.equal(await project.check(['cache-tags.ts']), '')
  t.equal(await project.check(['cache-tags-alone.ts'], { module: 'esnext', moduleResolution: 'bundler' }), '')
})

t.test('every entry point can be imported', async (t) => {
  t.same(await run('entry-points.ts'), expected['entry-points.ts'])
})

t.test('an import of the package does not load undici', async (t) => {
  project.write('loaded.mjs', "await import('fastify-prism')\nconsole.log(JSON.stringify(process.moduleLoadList.filter((name) => /undici/.test(name))))\n")

  t.same(await run('loaded.mjs'), [])
})

t.test('the package serves metrics and live connections at chosen paths, describes the policies of a route and inspects its stored response', async (t) => {
  t.same(await run('operations.ts'), expected['operations.ts'])
})

t.test('the package has types that are compatible with those of @fastify/rate-limit', async (t) => {
  project.add('@fastify/rate-limit')

  t.equal(await project.check(typed), '')
})

t.test('the package serves the whole stack', async (t) => {
  t.same(await run('stack.ts'), expected['stack.ts'])
})

t.test('the package works in an app with its own cookies, Redis client and handlers', async (t) => {
  t.same(await run('guest.ts'), expected['guest.ts'])
})

t.test('the package provides sessions without the rest of the stack', async (t) => {
  t.same(await run('session.ts'), expected['session.ts'])
})

t.test('the package provides rate limits and the cache to one scope, in the order of their registration', async (t) => {
  t.same(await run('cache-and-limit.ts'), expected['cache-and-limit.ts'])
})

t.test('the package provides events without the rest of the stack', async (t) => {
  t.same(await run('events.ts'), expected['events.ts'])
})

t.test('the package names the missing dependency when a plugin is registered without fastify-prism/redis', async (t) => {
  t.match(await run('alone.ts'), /dependency 'fastify-prism\/redis' of plugin 'fastify-prism\/session' is not registered/)
})

t.test('the package can be required', async (t) => {
  t.same(await run('required.cjs'), expected['required.cjs'])
})

/** The command line in the package. */
const bin = 'node_modules/fastify-prism/dist/src/cli/bin.js'

t.test('the package contains the CLI', async (t) => {
  const keys = await project.run(bin, { args: ['keys', '--json', '--url', redis.url] })

  t.type(keys, 'object')
  t.notHas(keys, { failed: String })
})

t.test('the CLI ends quietly when the program that reads its output has ended', async (t) => {
  const child = spawn(process.execPath, [bin, 'doctor', '--url', redis.url], { cwd: project.folder, stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.destroy()
  const [complaint] = await Promise.all([text(child.stderr), once(child, 'close')])

  t.equal(complaint, '')
})

t.end() // the running Redis would keep the process alive
