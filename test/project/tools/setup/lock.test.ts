import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import t, { type Test } from 'tap'
import { until } from '../../../support/until.ts'

const module = new URL('../../../../tools/setup/lock.mjs', import.meta.url).href

/** Acquires the lock, reports it, and holds it until its input ends or the process is killed; it names the processes whose pids it gets as its programs. */
const holder = `
const { lockFolder, noteChild } = await import(process.argv[1])
const unlock = await lockFolder(process.argv[2])
for (const pid of process.argv.slice(3)) noteChild(Number(pid))
console.log('locked')
process.stdin.resume().once('end', () => { unlock(); process.exit() })
`

interface Holder { child: ChildProcess, lines: Interface, locked: Promise<unknown>, release: () => Promise<unknown> }

function take (t: Test, folder: string, ...pids: readonly unknown[]): Holder {
  const child = spawn(process.execPath, ['--input-type=module', '-e', holder, module, folder, ...pids.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => { child.kill('SIGKILL') })
  const lines = createInterface(child.stdout)
  const exit = once(child, 'exit')
  const said: string[] = []
  lines.on('line', (line) => said.push(line))
  const locked = until(() => said.includes('locked'), { what: 'the lock is taken' })
  return { child, lines, locked, release: async () => { child.stdin?.end(); await exit } }
}

function freshFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prism-lock-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const isLocked = (folder: string) => existsSync(join(folder, '.setup.lock'))

t.test('a second set-up waits for the lock until the first has ended, and reports that', async (t) => {
  const folder = freshFolder(t)
  const first = take(t, folder)
  await first.locked
  const second = take(t, folder)
  const [line] = await once(second.lines, 'line')

  await first.release()
  await second.locked

  t.match(line, 'another set-up is running in this folder')
  t.ok(isLocked(folder))
  await second.release()
  t.notOk(isLocked(folder), 'given back')
})

t.test('the lock of a killed set-up is taken over by exactly one waiting set-up', async (t) => {
  const folder = freshFolder(t)
  const first = take(t, folder)
  await first.locked
  const others = [take(t, folder), take(t, folder), take(t, folder)]
  await Promise.all(others.map(async ({ lines }) => await once(lines, 'line')))

  first.child.kill('SIGKILL')
  await Promise.race(others.map(async ({ locked }) => await locked))

  for (const { locked } of others) locked.catch(() => {}) // they take turns
  const winners = others.map((other) => other.locked.then(async () => await other.release()))
  await Promise.all(winners)
  t.notOk(isLocked(folder))
})

t.test('the lock is held while one of the programs runs that a killed set-up started', async (t) => {
  const folder = freshFolder(t)
  const [program, other] = [spawn('sleep', ['60']), spawn('sleep', ['60'])]
  for (const each of [program, other]) t.after(() => { each.kill('SIGKILL') })
  const first = take(t, folder, program.pid, other.pid)
  await first.locked
  first.child.kill('SIGKILL')
  program.kill('SIGKILL')
  await once(program, 'exit')
  const second = take(t, folder)
  let isTaken = false
  const taken = second.locked.then(() => { isTaken = true })
  await once(second.lines, 'line')

  t.notOk(isTaken)
  other.kill('SIGKILL')
  await taken
  t.ok(isLocked(folder))
})

t.test('a lock without an owner does not block: malformed, or with the pid of another process', async (t) => {
  for (const words of ['', '{"owner":{"pid":', JSON.stringify({ owner: { pid: process.pid, since: '1' } }), JSON.stringify({ owner: { pid: 2 ** 22 + 1, since: '1' } })]) {
    const folder = freshFolder(t)
    const path = join(folder, '.setup.lock')
    writeFileSync(path, words)
    utimesSync(path, 1, 1)

    const holder = take(t, folder)
    await holder.locked
    await holder.release()

    t.notOk(isLocked(folder), words)
  }
})
