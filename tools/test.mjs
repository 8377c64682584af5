// Runs the tests: all, or the named files; `--jobs=N` at a time. Ends with `N passed, N failed` on its own line; the exit code agrees.
import { globSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Count } from './test/count.mjs'
import { Runner } from './test/runner.mjs'

const all = 'test/**/*.test.ts'
const elsewhere = ['test/ecosystem/**', 'test/package/**'] // these install packages, and have their own commands
// Files wait more than they compute; but each starts one or several Redis servers, which must reply in time: more run only while processors are idle.
const jobs = Math.min(availableParallelism() + 2, 8)
const most = 3 * jobs
const { values, positionals } = parseArgs({ allowPositionals: true, options: { jobs: { type: 'string' } } })
const count = new Count()
const runner = values.jobs === undefined ? new Runner(jobs, most) : new Runner(Number(values.jobs))
let stopped = ''

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    stopped ||= signal
    runner.stop(signal)
  })
}

const files = filesOf(positionals)
if (!process.stdout.isTTY) console.log(`TAP version 14\n1..${files.length}`)
await runner.run(files, show)
if (stopped) count.complain(`stopped by ${stopped}`)
count.close()

function filesOf (names) {
  if (names.length === 0) return globSync(all, { exclude: elsewhere }).sort()
  const found = names.map(name => globSync(isFolder(name) ? `${name}/**/*.test.ts` : name))
  found.forEach((files, index) => { if (files.length === 0) count.complain(`no test file ${names[index]}`) })
  return [...new Set(found.flat())].map(name => name.replaceAll('\\', '/'))
}

function isFolder (name) {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() ?? false
}

// A log gets every test, file by file; a terminal gets the failures and the progress.
function show (ended, index) {
  const isFine = count.add(ended)
  const { file, said, complained, ms } = ended
  const tap = `# Subtest: ${file}\n${indented(said)}${isFine ? 'ok' : 'not ok'} ${index + 1} - ${file} # time=${Math.round(ms)}ms\n`
  if (!process.stdout.isTTY) console.log(tap + complained)
  else process.stdout.write(`\x1b[2K\r${isFine ? '' : tap + complained}${index + 1} of ${files.length} files, ${count.failed} failed `)
  if (process.stdout.isTTY && index + 1 === files.length) console.log()
}

function indented (said) {
  return said.replace(/^TAP version .*\n/, '').replace(/^(?=.)/gm, '    ')
}
