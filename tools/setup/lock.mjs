import { mkdirSync, readFileSync, renameSync, rmSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { say } from './run.mjs'

// One set-up at a time per folder. The lock names its owner and the programs that it runs: an `npm ci` whose set-up was killed still holds it.
let held
const children = new Set()

/** Acquires the lock of a folder, and waits for another set-up. Returns the release function; the end of the process releases too. */
export async function lockFolder (root) {
  const path = join(root, '.setup.lock')
  const startedAt = Date.now()
  for (let told = false; !take(path);) {
    if (!told) say('another set-up is running in this folder; waiting for it')
    told = true
    await wait(100)
    if ((Date.now() - startedAt) % 10_000 < 100) say(`still waiting (${Math.round((Date.now() - startedAt) / 1000)} s)`)
  }
  process.on('exit', unlock)
  return unlock
}

/** Records a program that the lock's owner runs now. Returns the function that removes it from the record. */
export function noteChild (pid) {
  const child = mark(pid)
  children.add(child)
  record()
  return () => {
    children.delete(child)
    record()
  }
}

function record () {
  if (!held) return
  writeFileSync(`${held}.${process.pid}`, words())
  renameSync(`${held}.${process.pid}`, held)
}

function unlock () {
  // A child that survives a Ctrl-C which only this process received holds the lock until it ends.
  if (held && ![...children].some(isAlive)) rmSync(held, { force: true })
  held = undefined
}

function take (path) {
  try {
    writeFileSync(path, words(), { flag: 'wx' })
    held = path
    return true
  } catch (error) {
    if (error.code === 'EROFS' || error.code === 'EACCES') return true // nothing can be written here, so that no set-up can conflict
    if (error.code !== 'EEXIST') throw error
    removeStale(path)
    return false
  }
}

// Only under a second, short-lived lock: otherwise, of two processes that see a dead owner's lock, the second would remove the first one's new lock.
function removeStale (path) {
  if (isHeld(path)) return
  const gate = `${path}.gate`
  try {
    mkdirSync(gate)
  } catch {
    if (ageMs(gate) > 5_000) rmSync(gate, { recursive: true, force: true })
    return
  }
  try {
    if (!isHeld(path)) rmSync(path, { force: true })
  } finally {
    rmdirSync(gate)
  }
}

function isHeld (path) {
  const lock = read(path)
  if (!lock) return ageMs(path) < 2_000 // being written, deleted, or malformed
  return [lock.owner, lock.child, ...lock.children ?? []].some(isAlive)
}

function words () {
  return JSON.stringify({ owner: mark(process.pid), children: [...children] })
}

function read (path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

// A pid alone is not enough: after a reboot another process can have it.
function mark (pid) {
  return { pid, since: startOf(pid) }
}

function isAlive (process) {
  if (!process) return false
  try {
    globalThis.process.kill(process.pid, 0)
  } catch (error) {
    if (error.code !== 'EPERM') return false
  }
  const { state, since } = stat(process.pid)
  return state !== 'Z' && since === process.since
}

function startOf (pid) {
  return stat(pid).since
}

function stat (pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')
    return { state: fields[0], since: fields[19] }
  } catch {
    return {} // no /proc on this system
  }
}

function ageMs (path) {
  return Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
}
