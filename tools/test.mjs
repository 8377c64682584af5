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
const record = join(folder, 'results.tap')
const ending = await runTap(process.argv.slice(2))
if (existsSync(record)) await count(record)
rmSync(folder, { recursive: true, force: true })
if (ending !== 0 && tests.failed === 0) complain(`the test runner ended with ${ending}`)
if (tests.passed + tests.failed === 0) complain('no test ran')
for (const complaint of complaints) console.log(complaint)
console.log(`${tests.passed} passed, ${tests.failed} failed${tests.skipped > 0 ? `, ${tests.skipped} skipped` : ''}`)
process.exitCode = tests.failed > 0 ? 1 : 0

function runTap (args) {
  const runner = join(import.meta.dirname, '..', 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
  const child = spawn(process.execPath, [runner, 'run', `--reporter=${process.stdout.isTTY ? 'terse' : 'tap'}`, `--output-file=${record}`, ...args], { stdio: ['ignore', 'inherit', 'inherit'] })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  return new Promise(resolve => {
    child.once('error', error => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? code))
  })
}

async function count (path) {
  const parser = new Parser()
  watch(parser, true)
  await new Promise((resolve, reject) => {
    parser.once('complete', resolve)
    createReadStream(path).once('error', reject).pipe(parser)
  })
}

// A test is a subtest without subtests; a file without subtests is one. What fails around its tests (a teardown, a timeout) counts as one more.
function watch (parser, isRun = false) {
  const seen = { asserts: 0, subtests: 0, failed: 0, reason: '' }
  let child
  parser.on('child', sub => { child = watch(sub) })
  parser.on('plan', plan => { seen.reason = plan.comment ?? '' })
  parser.on('assert', result => {
    seen.asserts++
    const inner = child
    child = undefined
    if (inner) seen.subtests++
    const failedBefore = tests.failed
    judge(result, inner, isRun)
    seen.failed += (inner?.failed ?? 0) + tests.failed - failedBefore
  })
  return seen
}

function judge (result, inner, isFile) {
  const { ok, skip, todo, name } = result
  const leaf = inner ? inner.subtests === 0 : Boolean(skip || todo)
  const empty = inner?.asserts === 0 && (inner.reason === '' || inner.reason.includes(none))
  if (isFile && empty && !(typeof skip === 'string' && !skip.includes(none))) complain(`${name}: a file without an assertion proves nothing`)
  else if (skip || todo) tests.skipped += leaf ? 1 : 0
  else if (leaf) tests[ok ? 'passed' : 'failed']++
  else if (inner && !ok && inner.failed === 0) complain(`${name}: failed outside its tests`)
}

function complain (what) {
  tests.failed++
  complaints.push(`not ok: ${what}`)
}
