import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IdleShare } from './idle-share.mjs'

// A file of half a minute takes four of them on a busy machine.
const timeoutMs = 300_000
const graceMs = 3_000

// Three quarters of a file's time is waiting. While this share of the processors was idle for this long, one more file starts.
const idleShare = 0.3
const idleMs = 500

/**
 * Runs test files, each in its own process and several at a time.
 *
 * They are plain Node programs: what tap's own runner loads into each of them, and into each process that they start,
 * takes longer to load than the whole stack. V8's compile cache is shared by all of them, and by a runner that a test starts.
 */
export class Runner {
  #jobs
  #most
  #waiting = []
  #running = new Set()

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
    this.#waiting = files.map(file => ({ file, declared: declaredTimeout(file) })).sort((one, other) => other.declared - one.declared).map(({ file }) => file)
    let ended = 0
    const runOne = async file => {
      const result = await this.#runFile(file, env)
      tell(result, ended++)
    }
    const work = async () => { for (let file = this.#waiting.shift(); file; file = this.#waiting.shift()) await runOne(file) }
    const extra = this.#whileIdle(runOne)
    await Promise.all(Array.from({ length: this.#jobs }, work))
    await extra.stop()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }

  /** Starts no more files, and forwards the signal to the running ones. */
  stop (signal) {
    this.#waiting = []
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

  #runFile (file, env) {
    const startedAt = performance.now()
    const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    this.#running.add(child)
    const said = textOf(child.stdout)
    const complained = textOf(child.stderr)
    const deadline = endLate(child)
    return new Promise(resolve => {
      child.once('error', error => complained.push(`${error.message}\n`))
      child.once('exit', () => letGo(child, complained))
      child.once('close', (code, signal) => {
        clearTimeout(deadline.timer)
        this.#running.delete(child)
        resolve({ file, said: said.join(''), complained: complained.join(''), code, signal, ms: performance.now() - startedAt })
      })
    })
  }
}

function textOf (stream) {
  const chunks = []
  stream.setEncoding('utf8').on('data', chunk => chunks.push(chunk))
  return chunks
}

// A file announces its timeout at its start and with each `t.setTimeout`. At its timeout it prints what it waits for, and ends, unless it cannot.
function endLate (child) {
  const deadline = { timer: undefined }
  const end = () => {
    child.send({ tapAbort: 'timeout' }, () => {})
    deadline.timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
  }
  const renew = ms => {
    clearTimeout(deadline.timer)
    deadline.timer = setTimeout(end, ms)
  }
  renew(timeoutMs)
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

function declaredTimeout (file) {
  const [, declared = '0'] = /^t\.setTimeout\(([\d_]+)\)/m.exec(readFileSync(file, 'utf8')) ?? []
  return Number(declared.replaceAll('_', ''))
}
