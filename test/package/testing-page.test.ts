import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { documentOf } from '../support/readme.ts'
import { installArgs, limits, npm, packPackage, withoutNpm } from './pack.ts'

t.setTimeout(600_000) // it installs a project for each runner
const execute = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'prism-testing-page-'))
t.after(() => rmSync(folder, { recursive: true, force: true }))
const tarball = process.env.PRISM_TARBALL ?? await packPackage(folder)
const env = { ...withoutNpm(), SESSION_SECRET: 'a secret of the tests: 32 or more', CI: 'true', NO_COLOR: '1' }

const page = documentOf('docs/testing.md')
const sectionOf = (heading: string) => page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
const blocksOf = (text: string, language: string) => [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, block = '']) => block)
const codeOf = (text: string, pattern: RegExp) => [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code).find((code) => pattern.test(code)) ?? ''
const app = blocksOf(page, 'js').find((block) => block.includes('export async function buildApp')) ?? ''
const [installEngine = ''] = blocksOf(page, 'sh')

/** A project with the page's app and this test, in which the page's commands have installed the package and what tests need. */
async function projectOf (name: string, test: string, runner: readonly string[] = []): Promise<string> {
  const project = join(folder, name)
  mkdirSync(join(project, 'test'), { recursive: true })
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }))
  writeFileSync(join(project, 'app.js'), app)
  writeFileSync(join(project, 'test', 'app.test.js'), test)
  await npm(project, [...installArgs, tarball, 'fastify', ...runner])
  await npm(project, [...installEngine.trim().split(' ').slice(1), ...installArgs.slice(1)])
  return project
}

/** What the command of the page prints, and its exit code where it has failed. */
async function outputOf (project: string, command: string): Promise<string> {
  const { stdout, stderr } = await execute('bash', ['-c', command], { ...limits, timeout: 60_000, cwd: project, env }).catch((failure: { code: number, stdout: string, stderr: string }) => ({ stdout: `exit code ${failure.code}`, stderr: failure.stdout + failure.stderr }))
  return stdout + stderr
}

/** A test of what the page says about fake timers, beside its own test. */
function withFakeDate (test: string, object: string, useFakeTimers: string): string {
  return `${test}
test('a fake Date moves the clock', async () => {
  ${useFakeTimers}
  while ((await app.inject('/')).statusCode !== 429) continue
  ${object}.setSystemTime(Date.now() + 3_600_000)
  expect((await app.inject('/')).statusCode).toBe(200)
  ${object}.useRealTimers()
})
`
}

/** A test that forgets to close its app: the runner must end by itself. */
function forgetful (imports: string): string {
  return `${imports}
import { buildApp } from '../app.js'

test('an app that is never closed', async () => {
  const app = await buildApp({ redis: 'memory' })
  await app.events.subscribe('topic', () => {})
  if ((await app.inject('/')).statusCode !== 200) throw new Error('not served')
})
`
}

t.test('the example of docs/testing.md for node:test passes, in a project with the package from its tarball, and an app that is not closed does not hold the runner', async (t) => {
  const section = sectionOf('node:test')
  const project = await projectOf('node-test', blocksOf(section, 'js')[0] ?? '')
  writeFileSync(join(project, 'test', 'forgetful.test.js'), forgetful("import { test } from 'node:test'"))

  t.match(await outputOf(project, codeOf(section, /^node --test/)), /pass 2$/m)
})

t.test('the example of docs/testing.md for vitest passes, and so does what it says about fake timers', async (t) => {
  const section = sectionOf('vitest')
  const test = (blocksOf(section, 'js')[0] ?? '').replace("expect, test } from 'vitest'", "expect, test, vi } from 'vitest'")
  const project = await projectOf('vitest', withFakeDate(test, 'vi', codeOf(section, /useFakeTimers/)), ['vitest@5.1.2'])
  writeFileSync(join(project, 'test', 'forgetful.test.js'), forgetful("import { test } from 'vitest'"))

  t.match(await outputOf(project, codeOf(section, /^npx vitest/)), /Tests +3 passed/)
})

t.test('the example of docs/testing.md for vitest passes in Jest as the page says, and so does what it says about fake timers', async (t) => {
  const section = sectionOf('Jest')
  const imports = codeOf(section, /^import /)
  const test = (blocksOf(sectionOf('vitest'), 'js')[0] ?? '').replace(/^import .* from 'vitest'$/m, imports.replace('test }', 'test, jest }'))
  const project = await projectOf('jest', withFakeDate(test, 'jest', codeOf(section, /useFakeTimers/)), ['jest@30.5.2'])
  writeFileSync(join(project, 'test', 'forgetful.test.js'), forgetful("import { test } from '@jest/globals'"))

  t.match(await outputOf(project, codeOf(section, /^node .*jest$/)), /Tests: +3 passed, 3 total/)
})
