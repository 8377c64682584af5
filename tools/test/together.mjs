// Runs several test files in this process, one after the other, each as a subtest with the file's name: what they import is loaded once.
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import root from 'tap'
import { current } from './tap-of-file.mjs'

const tapOfFile = new URL('./tap-of-file.mjs', import.meta.url).href
// Not as arguments: tap names the folders of `t.testdir` after them.
const files = JSON.parse(process.env.PRISM_TEST_FILES ?? '[]')
const longestMs = 1000 * Number(process.env.TAP_TIMEOUT)
delete process.env.PRISM_TEST_FILES

registerHooks({ resolve: (name, context, next) => name === 'tap' ? { url: tapOfFile, shortCircuit: true } : next(name, context) })
root.setTimeout(files.length * longestMs)
for (const file of files) {
  await root.test(file, { timeout: longestMs }, async t => {
    current.test = t
    await import(pathToFileURL(join(process.cwd(), file)).href)
  })
  // What it leaves behind could fail the next ones: the runner runs them on their own.
  if (!root.passing()) break
}
