import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { groupsOf } from './groups.mjs'
import { IdleShare } from './idle-share.mjs'

// A file of half a minute takes four of them on a busy machine.
const timeoutMs = 300_000
const graceMs = 3_000
const together = join(import.meta.dirname, 'together.mjs')

// Three quarters of a file's time is waiting. While this share of the processors was idle for this long, one more file starts.
const idleShare = 0.2
const idleMs = 300

/**
 * Runs test files, several processes at a time; small ones share a process.
 *
 * They are plain Node programs: what tap's own runner loads into each of them, and into each process that they start,
 * takes longer to load than the whole stack. V8's compile cache is shared by all of them, and by a runner that a test starts.
 */
export class Runner {
  #jobs
  #most
  #waiting = []
  #running = new Set()
  #isStopped = false

  /** @param jobs files at a time @param most files at a time while processors are idle */
  constructor (jobs, most = jobs) {
    this.#jobs = jobs
    this.#most = most
  }

  /**
   * Runs the files, those with the longest timeout first, so that none of them runs alone at the end.
   *
   * @param tell called at the end of each with `{ file, said, complained, code, signal, ms }` and the number of files that ended before it
   */
  async run (files, tell) {
    const folder = mkdtempSync(join(tmpdir(), 'prism-compiled-'))
    const env = { NODE_COMPILE_CACHE: folder, ...process.env, TAP_TIMEOUT: String(timeoutMs / 1000) }
    this.#waiting = groupsOf(files).map(group => ({ group, declared: declaredTimeout(group) })).sort((one, other) => other.declared - one.declared || other.group.length - one.group.length).map(({ group }) => group)
    if (env.NODE_COMPILE_CACHE === folder && this.#waiting.length > this.#jobs) await warmUp(env)
    let ended = 0
    const runOne = async group => {
      const results = resultsOf(group, await this.#runGroup(group, env))
      for (const result of results) tell(result, ended++)
      if (!this.#isStopped) for (const file of group.slice(results.length)) await runOne([file])
    }
    const work = async () => { for (let group = this.#waiting.shift(); group; group = this.#waiting.shift()) await runOne(group) }
    const extra = this.#whileIdle(runOne)
    await Promise.all(Array.from({ length: this.#jobs }, work))
    await extra.stop()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }

  /** Starts no more files, and forwards the signal to the running ones. */
  stop (signal) {
    this.#waiting = []
    this.#isStopped = true
    for (const child of this.#running) child.kill(signal)
  }

  #whileIdle (runOne) {
    const idle = new IdleShare()
    const runs = []
    const timer = setInterval(() => {
      const isIdle = idle.read() > idleShare
      if (isIdle && this.#waiting.length > 0 && this.#running.size < this.#most) runs.push(runOne(this.#waiting.shift()))
    }, idleMs)
    return {
      stop: async () => {
        clearInterval(timer)
        await Promise.all(runs)
      }
    }
  }

  #runGroup (group, env) {
    const startedAt = performance.now()
    const isOne = group.length === 1
    const child = spawn(process.execPath, isOne ? group : [together], { env: isOne ? env : { ...env, PRISM_TEST_FILES: JSON.stringify(group) }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    this.#running.add(child)
    const said = textOf(child.stdout)
    const complained = textOf(child.stderr)
    const deadline = endLate(child, group.length * timeoutMs)
    return new Promise(resolve => {
      child.once('error', error => complained.push(`${error.message}\n`))
      child.once('exit', () => letGo(child, complained))
      child.once('close', (code, signal) => {
        clearTimeout(deadline.timer)
        this.#running.delete(child)
        resolve({ said: said.join(''), complained: complained.join(''), code, signal, ms: performance.now() - startedAt })
      })
    })
  }
}

async function warmUp (env) {
  await once(spawn(process.execPath, [join(import.meta.dirname, 'warm-up.mjs')], { env, stdio: 'ignore' }), 'close')
}

/** The results of the files that a process has run. The first that fails is the last, and what goes wrong outside the files counts for it. */
function resultsOf (group, { said, complained, code, signal, ms }) {
  if (group.length === 1) return [{ file: group[0], said, complained, code, signal, ms }]
  const lines = said.split('\n')
  const begun = group.filter(file => lines.includes(`# Subtest: ${file}`))
  return (begun.length > 0 ? begun : group.slice(0, 1)).map((file, index, { length }) => {
    const from = lines.indexOf(`# Subtest: ${file}`)
    const to = lines.findIndex((line, at) => at > from && /^(?:not )?ok /.test(line))
    const own = lines.slice(from + 1, to < 0 ? undefined : to).map(line => line.replace(/^ {4}/, '')).join('\n')
    const [, time] = /# time=([\d.]+)ms/.exec(lines[to] ?? '') ?? []
    const isLast = index + 1 === length
    return { file, said: `TAP version 14\n${own}\n`, complained: isLast ? complained : '', code: isLast ? code : 0, signal: isLast ? signal : null, ms: Number(time ?? ms) }
  })
}

function textOf (stream) {
  const chunks = []
  stream.setEncoding('utf8').on('data', chunk => chunks.push(chunk))
  return chunks
}

// A process announces its timeout at its start and with each `t.setTimeout`. At its timeout it prints what it waits for, and ends, unless it cannot.
function endLate (child, longestMs) {
  const deadline = { timer: undefined }
  const end = () => {
    child.send({ tapAbort: 'timeout' }, () => {})
    deadline.timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
  }
  const renew = ms => {
    clearTimeout(deadline.timer)
    deadline.timer = setTimeout(end, ms)
  }
  renew(longestMs)
  child.on('message', message => { if (message?.setTimeout > 0) renew(message.setTimeout) })
  return deadline
}

// A process that a file has left behind can hold its output open indefinitely.
function letGo (child, complained) {
  const timer = setTimeout(() => {
    complained.push('it left a process behind\n')
    child.stdout.destroy()
    child.stderr.destroy()
  }, graceMs)
  child.once('close', () => clearTimeout(timer))
}

function declaredTimeout ([file]) {
  const [, declared = '0'] = /^t\.setTimeout\(([\d_]+)\)/m.exec(readFileSync(file, 'utf8')) ?? []
  return Number(declared.replaceAll('_', ''))
}
