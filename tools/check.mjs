// Runs lint, type check and tests, all three in any case. Ends with the line of the tests, in which a failed lint or type check counts as one failure each.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

const closing = /^(\d+) passed, (\d+) failed$/
let failed = 0
let last = ['', '0', '0']

for (const step of ['lint', 'types']) if (await run(['run', '--silent', step]) !== 0) failed++
const testsCode = await run(['test', '--silent', ...process.argv.slice(2)])
if (testsCode !== 0 && last[2] === '0') failed++
console.log(`${last[1]} passed, ${Number(last[2]) + failed} failed`)
process.exitCode = failed > 0 || testsCode !== 0 ? 1 : 0

function run (args) {
  console.log(`npm ${args.filter(word => word !== '--silent').join(' ')}`)
  const child = spawn('npm', args, { stdio: ['ignore', 'pipe', 'inherit'], shell: process.platform === 'win32' })
  createInterface(child.stdout).on('line', line => {
    last = closing.exec(line) ?? last
    if (!closing.test(line)) console.log(line)
  })
  return new Promise(resolve => {
    child.once('error', () => resolve(1))
    child.once('close', code => {
      if (code !== 0) console.log(`npm ${args.at(-1)} failed`)
      resolve(code ?? 1)
    })
  })
}
