// Runs the tests: all, or the files named. Closes with `N passed, N failed` alone on a line; its exit code says the same.
import { spawn } from 'node:child_process'
import { createReadStream, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Parser } from 'tap-parser'

const none = 'no tests found'
const tests = { passed: 0, failed: 0, skipped: 0 }
const complaints = []

const folder = mkdtempSync(join(tmpdir(), 'prism-tap-'))
const ending = process.stdout.isTTY ? await runForEyes(process.argv.slice(2)) : await runForLogs(process.argv.slice(2))
rmSync(folder, { recursive: true, force: true })
if (ending !== 0 && tests.failed === 0) complain(`the test runner ended with ${ending}`)
if (tests.passed + tests.failed === 0) complain('no test ran')
for (const complaint of complaints) console.log(`not ok: ${complaint}`)
if (tests.skipped > 0) console.log(`${tests.skipped} skipped`)
console.log(`${tests.passed} passed, ${tests.failed} failed`)
process.exitCode = tests.failed > 0 ? 1 : 0

// A terminal sees what failed and how far it is; what is counted comes by a file.
async function runForEyes (args) {
  const record = join(folder, 'results.tap')
  const ending = await ended(runTap(['--reporter=terse', `--output-file=${record}`, ...args], 'inherit'))
  if (existsSync(record)) await count(createReadStream(record))
  return ending
}

// A log gets every test, and gets it at once.
async function runForLogs (args) {
  const child = runTap(['--reporter=tap', ...args], 'pipe')
  child.stdout.pipe(process.stdout, { end: false })
  const [ending] = await Promise.all([ended(child), count(child.stdout)])
  return ending
}

function runTap (args, stdout) {
  const runner = join(import.meta.dirname, '..', 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
  const child = spawn(process.execPath, [runner, 'run', ...args], { stdio: ['ignore', stdout, 'inherit'] })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  return child
}

function ended (child) {
  return new Promise(resolve => {
    child.once('error', error => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? code))
  })
}

async function count (stream) {
  const parser = new Parser()
  watch(parser, [])
  await new Promise((resolve, reject) => {
    parser.once('complete', resolve)
    stream.once('error', reject).pipe(parser)
  })
}

// A test is a subtest without subtests; a file without subtests is one. What fails around its tests (a teardown, a timeout) counts as one more.
function watch (parser, titles) {
  const seen = { asserts: 0, skips: 0, subtests: 0, failed: 0, reason: '' }
  let child
  parser.on('child', sub => { child = watch(sub, [...titles, sub.name]) })
  parser.on('plan', plan => { seen.reason = plan.comment ?? '' })
  parser.on('assert', result => {
    seen.asserts++
    const inner = child
    child = undefined
    if (inner) seen.subtests++
    if (result.skip || result.todo) seen.skips++
    const failedBefore = tests.failed
    judge(result, inner, [...titles, result.name])
    seen.failed += (inner?.failed ?? 0) + tests.failed - failedBefore
  })
  return seen
}

function judge ({ ok, skip, todo, diag }, inner, titles) {
  const name = [diag?.expired, ...titles].filter(Boolean).join(' > ')
  const leaf = inner ? inner.subtests === 0 : Boolean(skip || todo)
  const empty = inner?.asserts === 0 && (inner.reason === '' || inner.reason.includes(none))
  if (titles.length === 1 && empty && !(typeof skip === 'string' && !skip.includes(none))) complain(`${name}: a file without an assertion proves nothing`)
  else if (skip || todo) tests.skipped += leaf ? 1 : 0
  else if (leaf && ok) tests.passed += inner.asserts > 0 && inner.asserts === inner.skips ? 0 : 1
  else if (leaf) complain(name)
  else if (!inner && !ok && titles.length === 1) complain(name)
  else if (inner && !ok && inner.failed === 0) complain(`${name}: failed outside its tests`)
}

function complain (what) {
  tests.failed++
  complaints.push(what)
}
