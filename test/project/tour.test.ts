import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { documentOf } from '../support/readme.ts'
import { startService } from '../support/service.ts'

/** A command of the document and what it shows below it. */
interface Step { command: string, shown: string }

function stepsOf (text: string): Step[] {
  const blocks = [...text.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block = '']) => block)
  return blocks.flatMap((block) => block.split(/^\$ /m).slice(1)).map((step) => {
    const [command = '', ...shown] = step.split('\n')
    return { command, shown: shown.join('\n').trimEnd() }
  })
}

/** The numbers that the document says may differ, and only these. */
function comparable (output: string): string {
  return output
    .replaceAll('\r', '')
    .replaceAll(/\b(ttl|t)=\d+/g, '$1=N')
    .replaceAll(/("default";r)=\d+/g, '$1=N')
    .replaceAll(/^(age|retry-after): \d+/gim, '$1: N')
    .trimEnd()
}

const marker = '--- end of a command ---'

t.test('each command of docs/tour.md prints what the document shows', async (t) => {
  t.setTimeout(300_000)
  const { url } = await startService(t, { REDIS_COMMAND_TIMEOUT: '5s' }) // a busy machine is no outage
  const folder = mkdtempSync(join(tmpdir(), 'prism-tour-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const text = documentOf('docs/tour.md')
  const steps = stepsOf(text)
  // One shell for all commands: they share variables, files and background processes.
  const script = steps.map(({ command }) => `${command.replace('http://localhost:3000', url)}\necho '${marker}'`).join('\n')

  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], { cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe'] })
  const outputs = stdout.split(`${marker}\n`)

  t.ok(steps.length > 15, 'the document has commands')
  t.equal(text.match(/^\$ /gm)?.length, steps.length, 'all of them in blocks that are run')
  steps.forEach(({ command, shown }, index) => t.equal(comparable(outputs[index] ?? ''), comparable(shown), command))
  t.equal(stderr, '')
})
