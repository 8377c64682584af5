// Runs lint, type check, tests, the package's tests and the ecosystem suite, all of them in any case. Ends with the sum of the tests, in which a failed lint or type check counts as one failure each.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

const closing = /^(\d+) passed, (\d+) failed$/
let passed = 0
let failed = 0

for (const step of ['lint', 'types']) if ((await run(['run', '--silent', step])).code !== 0) failed++
await runTests(['run', '--silent', 'test', ...process.argv.slice(2)])
if (process.argv.length === 2) for (const suite of ['test:package', 'test:ecosystem']) await runTests(['run', '--silent', suite])
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0

async function runTests (args) {
  const { code, last: [, ok = '0', bad = '0'] = [] } = await run(args)
  passed += Number(ok)
  failed += Number(bad)
  if (code !== 0 && bad === '0') failed++
}

function run (args) {
  console.log(`npm ${args.filter(word => word !== '--silent').join(' ')}`)
  const child = spawn('npm', args, { stdio: ['ignore', 'pipe', 'inherit'], shell: process.platform === 'win32' })
  let last
  createInterface(child.stdout).on('line', line => {
    last = closing.exec(line) ?? last
    if (!closing.test(line)) console.log(line)
  })
  return new Promise(resolve => {
    child.once('error', () => resolve({ code: 1 }))
    child.once('close', code => {
      if (code !== 0) console.log(`npm ${args.find(word => word !== 'run' && word !== '--silent')} failed`)
      resolve({ code: code ?? 1, last })
    })
  })
}
