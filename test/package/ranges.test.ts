import { execFileSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { expected } from './expected.ts'
import { compilerOf, installPackage, oldestNode } from './project.ts'
import type { Project } from './project.ts'
import { root } from './pack.ts'

t.setTimeout(900_000) // it installs twice, and compiles with each version of TypeScript
const secret = 'a secret of the tests: 32 or more'
const peers = ['@fastify/websocket', 'prom-client', '@types/ws', '@fastify/cookie']
const programs = globSync('*.{ts,cjs}', { cwd: join(import.meta.dirname, 'programs') }).sort()

/** A project with everything that the programs import. */
async function projectWith (fastify: string): Promise<Project> {
  const project = await installPackage(t, fastify)
  for (const name of peers) project.add(name)
  for (const name of programs) project.write(name, readFileSync(join(import.meta.dirname, 'programs', name), 'utf8'))
  return project
}

const oldest = await projectWith('fastify@5.0.0')
const newest = await projectWith('fastify@5')
const versionOf = (project: Project, name: string): string => JSON.parse(readFileSync(join(project.folder, 'node_modules', name, 'package.json'), 'utf8')).version

/** Every program that uses Redis, one after the other, with what it printed. */
async function resultsOf (project: Project, url: string, node?: string): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {}
  for (const name of Object.keys(expected)) results[name] = await project.run(name, { env: { REDIS_URL: url, SESSION_SECRET: secret }, node })
  return results
}

const node = oldestNode()
const withoutNode = node === undefined ? `the registry has no Node 22 for ${process.platform}-${process.arch}` : false

t.test('the package runs on the oldest Node and the oldest Fastify that package.json names', { skip: withoutNode }, async (t) => {
  const { engines, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  t.equal(`>=${execFileSync(node ?? '', ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()}`, `${engines.node}.0`)
  t.equal(`^${versionOf(oldest, 'fastify')}`, peerDependencies.fastify)
  const { url } = await startRedis(t)

  t.same(await resultsOf(oldest, url, node), expected)
  t.same(await oldest.run('required.cjs', { node }), 'function', 'require() of the ES module needs no flag')
})

t.test('the package runs on this Node and the newest Fastify, on Redis 7', async (t) => {
  const { url } = await startRedis(t)

  t.same(await resultsOf(newest, url), expected)
})

/** Servers that the set-up brings; `doctor` names them. */
const servers: [name: string, says: RegExp][] = [['redis-8', /^Redis 8\./], ['valkey-8', /^Valkey 8\./]]

for (const [name, says] of servers) {
  const program = join(root, '.redis', 'servers', name)
  t.test(`the package runs on ${name}, and doctor accepts it`, { skip: existsSync(program) ? false : `the set-up could not bring ${name}` }, async (t) => {
    process.env.REDIS_SERVER_BIN = program
    t.after(() => { delete process.env.REDIS_SERVER_BIN })
    const { url } = await startRedis(t, { args: ['--maxmemory', '100mb', '--maxmemory-policy', 'volatile-ttl'] })

    t.same(await resultsOf(newest, url), expected)
    const doctor = await newest.run('node_modules/fastify-prism/dist/src/cli/bin.js', { args: ['doctor', '--json', '--url', url] }) as { isWell: boolean, findings: { check: string, says: string }[] }
    t.equal(doctor.isWell, true)
    t.match(doctor.findings.find(({ check }) => check === 'version')?.says, says)
  })
}

/** Consumers of the types: TypeScript 7 is the repository's own. */
const typed = programs.filter((name) => name.endsWith('.ts') && name !== 'beside.ts')
const commonJs = 'consumer.cts'
const commonJsText = "import prism = require('fastify-prism')\nimport session = require('fastify-prism/session')\nimport Fastify = require('fastify')\nconst app = Fastify()\napp.register(prism.default, { session: { secrets: [''] } })\nexport const parts = [prism.errors.OriginError, session.default]\n"
for (const project of [oldest, newest]) project.write(commonJs, commonJsText)

for (const version of ['5.8', '5.9', '6.0', '7.0']) {
  t.test(`the package has types for TypeScript ${version} without skipLibCheck, under NodeNext and bundler, with the oldest and the newest Fastify`, async (t) => {
    const compiler = compilerOf(version)
    t.match(JSON.parse(readFileSync(join(compiler, '../../package.json'), 'utf8')).version, new RegExp(`^${version.replace('.', '\\.')}\\.`))

    t.equal(await newest.check([...typed, commonJs], {}, compiler), '', 'NodeNext, from an ES module and from CommonJS')
    t.equal(await (version === '5.8' ? oldest : newest).check(typed, { module: 'esnext', moduleResolution: 'bundler' }, compiler), '', 'bundler')
  })
}

t.end() // the running Redis would keep the process alive
