import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { until } from '../../support/until.ts'

t.setTimeout(300_000) // each starts its own test runner

const root = join(import.meta.dirname, '../../..')
const begin = "import t from 'tap'\nt.test('good', async (t) => { t.ok(true) })\n"

/** Output and exit code of the runner for test files with these texts. */
async function runTests (t: Test, texts: Record<string, string>, names = Object.keys(texts)): Promise<{ code: number | null, said: string[] }> {
  const { code, output } = await start(suite(t, texts), names.map((name) => `test/${name}.test.ts`)).ended
  return { code, said: output.split('\n').filter((line) => /^not ok:|^\d+ skipped$|^\d+ passed/.test(line)).sort() }
}

/** A folder with these test files, removed with the test. */
function suite (t: Test, texts: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'prism-runner-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  mkdirSync(join(folder, 'test'))
  writeFileSync(join(folder, 'package.json'), '{ "name": "tested", "type": "module" }')
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(folder, 'test', `${name}.test.ts`), text)
  return folder
}

function start (folder: string, args: string[]): { child: ChildProcess, ended: Promise<{ code: number | null, output: string }> } {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^_?TAP/.test(name)))
  const child = spawn(process.execPath, [join(root, 'tools', 'test.mjs'), ...args], { cwd: folder, env, stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.on('data', (chunk) => { output += String(chunk) })
  return { child, ended: new Promise((resolve) => child.once('close', (code) => resolve({ code, output }))) }
}

t.test('test runner counts the innermost tests, a file without tests as one, and skipped ones separately', async (t) => {
  const { code, said } = await runTests(t, {
    nested: `${begin}t.test('two', async (t) => { t.test('inner', async (t) => { t.ok(true) }) })`,
    flat: "import t from 'tap'\nt.ok(true)",
    skipping: `${begin}t.test('b', { skip: 'no chromium' }, async () => {})\nt.test('c', { todo: 'later' }, async () => {})`,
    skipped: "import t from 'tap'\nt.test('b', { skip: 'no wrk' }, async () => {})"
  })

  t.same(said, ['3 skipped', '4 passed, 0 failed'])
  t.equal(code, 0)
})

const outside = 'failed outside its tests'
const hollow = 'a file without an assertion proves nothing'
const red: ReadonlyArray<[name: string, text: string, said: string]> = [
  ['without-assertion', 'export const x = 1', `: ${hollow}`],
  ['does-not-parse', 'const', `: ${hollow}`],
  ['fails', `${begin}t.test('bad', async (t) => { t.equal(1, 2) })`, ' > bad'],
  ['fails-deep-inside', `${begin}t.test('bad', async (t) => { t.test('inner', async (t) => { t.equal(1, 2) }) })`, ' > bad > inner'],
  ['never-ends', `${begin}t.test('bad', async (t) => { await new Promise(() => {}) })`, ' > bad'],
  ['throws', `${begin}throw new Error('late')`, `: ${outside}`],
  ['is-killed', `${begin}t.test('bad', async () => { process.kill(process.pid, 'SIGKILL') })`, `: ${outside}`],
  ['leaves-early', `${begin}t.test('bad', async () => { process.exit(0) })`, `: ${outside}`],
  ['rejects-unseen', `${begin}Promise.reject(new Error('late'))`, `: ${outside}`],
  ['throws-at-its-end', `${begin}t.teardown(() => { throw new Error('late') })`, `: ${outside}`]
]

t.test('test runner fails for each way in which a file can fail, and names the file', async (t) => {
  const { code, said } = await runTests(t, Object.fromEntries(red))

  for (const [name, , what] of red) t.ok(said.includes(`not ok: test/${name}.test.ts${what}`), `${name}${what}`)
  t.equal(said[0], '8 passed, 10 failed')
  t.equal(said.length, red.length + 1)
  t.equal(code, 1)
})

t.test('small files share a process, each with its own results; a file that changes its process, or declares a timeout, has one of its own', async (t) => {
  const text = (more: string) => `import { writeFileSync } from 'node:fs'\nimport { pid } from 'node:process'\n${begin}t.test('pid', async (t) => { t.equal(t.name, 'pid'); writeFileSync(new URL('./pid-' + t.fullname.split('/').at(-1).split('.')[0], import.meta.url), String(pid)) })\n${more}`
  const folder = suite(t, { one: text(''), two: text("t.test('bad', async (t) => { t.equal(1, 2) })"), three: text(''), env: text("process.env.CHANGED = 'yes'"), slow: text('t.setTimeout(60_000)') })
  const { code, output } = await start(folder, ['one', 'three', 'two', 'env', 'slow'].map((name) => `test/${name}.test.ts`)).ended
  const files = readdirSync(join(folder, 'test')).filter((name) => name.startsWith('pid-'))
  const pids = files.map((name) => readFileSync(join(folder, 'test', name), 'utf8'))

  t.equal(files.length, 5)
  t.equal(new Set(pids).size, 3, 'one, two and three share a process')
  t.match(output, /^not ok \d - test\/two\.test\.ts/m)
  for (const name of ['one', 'three', 'env', 'slow']) t.match(output, new RegExp(`^ok \\d - test/${name}\\.test\\.ts`, 'm'))
  t.match(output, /^not ok: test\/two\.test\.ts > bad$/m)
  t.match(output, /^10 passed, 1 failed$/m)
  t.equal(code, 1)
})

t.test('when a file of a shared process fails, or ends the process, those after it run on their own', async (t) => {
  const kills = `${begin}const { kill, pid } = await import("node:process")\nt.test('kills', async () => { kill(pid, 'SIGKILL') })`
  const { said } = await runTests(t, { a: begin, b: kills, c: begin, d: `${begin}t.test('bad', async (t) => { t.fail('bad') })`, e: begin })

  t.same(said, ['5 passed, 2 failed', 'not ok: test/b.test.ts: failed outside its tests', 'not ok: test/d.test.ts > bad'])
})

t.test('test runner fails for a file that exceeds its time limit, and ends it', async (t) => {
  const { code, said } = await runTests(t, {
    slow: `${begin}t.setTimeout(5000)\nt.test('bad', async (t) => { setInterval(() => {}, 1000); await new Promise(() => {}) })`,
    busy: `${begin}t.setTimeout(5000)\nt.test('bad', async (t) => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) })`,
    flat: "import t from 'tap'\nt.ok(true)"
  })

  t.match(said.join('\n'), 'not ok: test/slow.test.ts > ')
  t.match(said.join('\n'), 'not ok: test/busy.test.ts')
  t.match(said[0], /^3 passed, [23] failed$/)
  t.equal(code, 1)
})

t.test('a signal to the test runner ends its running files, starts no more, and fails the run', async (t) => {
  const folder = suite(t, {
    hangs: `import { writeFileSync } from 'node:fs'\n${begin}writeFileSync('pid', String(process.pid))\nsetInterval(() => {}, 1000)\nawait new Promise(() => {})`,
    next: `import { writeFileSync } from 'node:fs'\n${begin}writeFileSync('next', '')`
  })
  const runner = start(folder, ['--jobs=1', 'test/hangs.test.ts', 'test/next.test.ts'])
  const pid = await until(() => existsSync(join(folder, 'pid')) && Number(readFileSync(join(folder, 'pid'), 'utf8')), { what: 'the first file runs' })

  runner.child.kill('SIGTERM')
  const { code, output } = await runner.ended

  t.match(output, /^not ok: stopped by SIGTERM$/m)
  t.equal(code, 1)
  t.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  t.notOk(existsSync(join(folder, 'next')))
})

t.test('test runner fails if no test ran', async (t) => {
  const skipped = { skipped: "import t from 'tap'\nt.test('b', { skip: 'no wrk' }, async () => {})" }

  t.same(await runTests(t, skipped), { code: 1, said: ['0 passed, 1 failed', '1 skipped', 'not ok: no test ran'] })
  t.same(await runTests(t, {}, ['not-there']), { code: 1, said: ['0 passed, 1 failed', 'not ok: no test file test/not-there.test.ts'] })
})
