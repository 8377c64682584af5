// Runs the tests of the published package: packs it once, and runs all files of test/package, or those named. Closes with `N passed, N failed`.
import { globSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { packPackage } from '../test/package/pack.ts'
import { Count } from './test/count.mjs'
import { Runner } from './test/runner.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { values, positionals } = parseArgs({ allowPositionals: true, options: { jobs: { type: 'string', default: String(availableParallelism() + 1) } } })
const startedAt = performance.now()
const count = new Count()
const runner = new Runner(Number(values.jobs))
const folder = mkdtempSync(join(tmpdir(), 'prism-tarball-'))

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    count.complain(`stopped by ${signal}`)
    runner.stop(signal)
  })
}

try {
  process.env.PRISM_TARBALL = await packPackage(folder)
  await runner.run(positionals.length > 0 ? positionals : globSync('test/package/*.test.ts', { cwd: root }).sort(), (ended) => { count.addAndPrint(ended) })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`the package's tests took ${((performance.now() - startedAt) / 1000).toFixed(0)} s`)
count.close()
