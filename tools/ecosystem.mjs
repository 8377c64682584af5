// Runs the ecosystem suite: the stack beside the packages that people use. All of its files and docs/compatibility.md, or the files named;
// `--write` writes that table, otherwise it is checked. Closes with `N passed, N failed`.
import { execFile } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { tableOf } from '../test/ecosystem/support/table.ts'
import { Count } from './test/count.mjs'
import { Runner } from './test/runner.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const table = join(root, 'docs', 'compatibility.md')
const { values, positionals } = parseArgs({ allowPositionals: true, options: { write: { type: 'boolean' }, jobs: { type: 'string', default: String(availableParallelism() + 1) } } })
const startedAt = performance.now()
const count = new Count()
const runner = new Runner(Number(values.jobs))
const rows = mkdtempSync(join(tmpdir(), 'prism-ecosystem-'))
const cleanups = [() => rmSync(rows, { recursive: true, force: true })]

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    count.complain(`stopped by ${signal}`)
    runner.stop(signal)
  })
}

try {
  const redis = await startRedisProcess({ after: end => cleanups.push(end) }, { args: ['--maxmemory', '500mb', '--maxmemory-policy', 'volatile-ttl'] })
  Object.assign(process.env, { ECOSYSTEM_ROWS: rows, ECOSYSTEM_REDIS_URL: redis.url })
  const files = positionals.length > 0 ? positionals : globSync('test/ecosystem/*.test.ts', { cwd: root }).sort()
  const isWhole = positionals.length === 0
  await Promise.all([runner.run(files, (ended) => { count.addAndPrint(ended) }), isWhole && checkTypes()])
  if (isWhole) compareTable(tableOf(rows))
} finally {
  for (const end of cleanups.reverse()) await end()
}
console.log(`the ecosystem suite took ${((performance.now() - startedAt) / 1000).toFixed(0)} s`)
count.close()

function checkTypes () {
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '--project', join(root, 'test/ecosystem')]
  return new Promise(resolve => execFile(process.execPath, args, (error, stdout) => {
    if (error) console.log(stdout)
    if (error) count.complain('the types of test/ecosystem')
    resolve()
  }))
}

function compareTable (text) {
  if (values.write) writeFileSync(table, text)
  else if (readFileSync(table, { encoding: 'utf8', flag: 'a+' }) !== text) count.complain('docs/compatibility.md is out of date: run "npm run test:ecosystem -- --write"')
}
