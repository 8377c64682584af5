import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cores, pinned } from '../server.ts'

/** What wrk reports when it ends: `refused` are responses with an error status. */
export interface LoadReport { readonly requests: number, readonly failed: number, readonly refused: number, readonly bytes: number }

const script = new URL('../wrk/paths.lua', import.meta.url).pathname
const day = 86_400

/** A `wrk` process that sends requests only between `resume` and `suspend`. */
export class SuspendedLoad {
  readonly #wrk: ChildProcess
  #output = ''

  /** Starts it suspended: its file is read and its connections are opened when it resumes first. */
  constructor (url: string, connections: number, file: string) {
    const [program = '', ...args] = pinned(cores.load, ['wrk', '-t1', `-c${connections}`, `-d${day}s`, '--timeout', '30s', '-s', script, url, '--', file])
    this.#wrk = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#wrk.stdout?.setEncoding('utf8').on('data', (text: string) => { this.#output += text })
    process.on('exit', this.kill)
    this.suspend()
  }

  resume (): void {
    this.#wrk.kill('SIGCONT')
  }

  suspend (): void {
    this.#wrk.kill('SIGSTOP')
  }

  /** Ends it, and returns its report. Its latencies contain the suspended time and are not part of it. */
  async end (): Promise<LoadReport> {
    const closed = once(this.#wrk, 'close')
    // A signal to a suspended process may reach the thread of its connections instead of the one that waits for the end.
    this.resume()
    this.#wrk.kill('SIGINT')
    await closed
    process.off('exit', this.kill)
    const report = JSON.parse(this.#output.slice(this.#output.lastIndexOf('{"requests"'))) as LoadReport & { timeouts: number }
    return { ...report, failed: report.failed - report.timeouts } // a suspended request is late by the pause
  }

  readonly kill = (): void => {
    process.off('exit', this.kill)
    this.#wrk.kill('SIGKILL')
  }
}
