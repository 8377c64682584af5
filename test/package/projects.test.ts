import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { installArgs, npm, packPackage } from './pack.ts'

t.setTimeout(900_000) // it installs a project of each kind
const projects = join(import.meta.dirname, 'projects')
const folder = mkdtempSync(join(tmpdir(), 'prism-projects-'))
t.after(() => rmSync(folder, { recursive: true, force: true }))
const tarball = process.env.PRISM_TARBALL ?? await packPackage(folder)
const redis = await startRedis(t)
const env = { REDIS_URL: redis.url, SESSION_SECRET: 'a secret of the tests: 32 or more', CI: 'true' }
const kinds = readdirSync(projects).sort()

/** Installs a project as its user would, and runs its tests: nothing of the repository but the tarball is used. */
async function testProject (kind: string): Promise<{ output: string, hasFailed: boolean, versions: readonly string[] }> {
  const project = join(folder, kind)
  cpSync(join(projects, kind), project, { recursive: true })
  try {
    await npm(project, [...installArgs, tarball])
    const { stdout, stderr } = await npm(project, ['test'], env)
    const { packages } = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')) as { packages: Record<string, { version: string }> }
    return { output: stdout + stderr, hasFailed: false, versions: Object.keys(packages).filter((path) => path.endsWith('node_modules/fastify')) }
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string, stderr?: string }
    return { output: stdout + stderr || String(error), hasFailed: true, versions: [] }
  }
}

/** Two projects at a time: while one installs, another one runs. */
const results = new Map<string, ReturnType<typeof testProject>>()
let running: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()]
for (const kind of kinds) {
  const [first, ...others] = running
  const result = (first ?? Promise.resolve()).then(async () => await testProject(kind))
  results.set(kind, result)
  running = [...others, result]
}

t.test('there is a project of each kind', async (t) => {
  t.same(kinds, ['bundler', 'commonjs', 'esm', 'jest', 'nest', 'nodenext', 'typebox', 'vitest', 'zod'])
})

for (const kind of kinds) {
  t.test(`a new project (${kind}) installs the package from npm, and its cached, limited and signed-in routes work`, async (t) => {
    const { output, hasFailed, versions } = await results.get(kind) ?? { output: 'not run', hasFailed: true, versions: [] }

    t.equal(hasFailed, false, output)
    t.same(versions, ['node_modules/fastify'], 'one Fastify, which the package and the app share')
  })
}

t.end() // the running Redis would keep the process alive
