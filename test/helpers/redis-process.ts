import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findRedisServer } from '../../src/redis/binary.ts'
import { guard } from '../../src/redis/guard.ts'
import type { Owner } from './owner.ts'
import { freePort } from './ports.ts'
import { until } from './until.ts'

/** How a process is started. */
export interface RedisProcessOptions {
  /** Drawn by chance. */
  port?: number
  /** As on redis-server's command line. */
  args?: string[]
  /** Lines of a config file; Sentinel needs one, to keep its state in. */
  config?: string[]
}

/**
 * Starts a bare redis-server on a port and in a folder of its own, without a client; all end with the owner.
 *
 * What is no single plain server is made of these: clusters, sentinels, servers with TLS.
 */
export async function startRedisProcess (owner: Owner, options: RedisProcessOptions = {}): Promise<RedisProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'prism-redis-'))
  const server = new RedisProcess(folder, options.port ?? await freePort(), options)
  owner.after(async () => {
    await server.kill()
    await rm(folder, { recursive: true, force: true })
  })
  await server.start()
  return server
}

/** One redis-server, which can be killed, stopped for a while, and started again on its port. */
export class RedisProcess {
  readonly host = '127.0.0.1'
  readonly port: number
  readonly url: string
  readonly #folder: string
  readonly #options: RedisProcessOptions
  #child: ChildProcess | undefined
  #pid = 0
  #starts = 0

  constructor (folder: string, port: number, options: RedisProcessOptions) {
    this.port = port
    this.url = `redis://127.0.0.1:${port}`
    this.#folder = folder
    this.#options = options
  }

  /** The server's own, while it runs. */
  get pid (): number {
    return this.#pid
  }

  /** Starts it, empty or with a snapshot (a path); done when it accepts connections. */
  async start (snapshot?: string, args: string[] = []): Promise<void> {
    const home = join(this.#folder, `run-${++this.#starts}`)
    await mkdir(home)
    if (snapshot) await copyFile(snapshot, join(home, 'dump.rdb'))
    const child = await this.#spawn(home, args)
    await until(() => {
      if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
      return accepts(this.port)
    }, { what: `redis-server accepts connections on ${this.port}` })
  }

  /** Ends it as `kill -9` does, whatever it is at. */
  async kill (): Promise<void> {
    const child = this.#child
    if (!child) return
    this.#child = undefined
    child.stdin?.end()
    if (child.exitCode === null) await once(child, 'exit')
  }

  /** Sends the server a signal. */
  signal (name: NodeJS.Signals): void {
    process.kill(this.#pid, name)
  }

  async #spawn (home: string, args: string[]): Promise<ChildProcess> {
    const binary = findRedisServer()
    const [program, words] = guard(home, [binary.path, ...await this.#words(home), ...args])
    const child = spawn(program, words, { cwd: home, env: { ...process.env, ...binary.env }, detached: true, stdio: ['pipe', 'pipe', 'ignore'] })
    this.#child = child
    child.stdin.on('error', () => {}) // the guard ended before us: nothing is left to tell it
    const lines = createInterface(child.stdout)
    const [pid] = await once(lines, 'line')
    this.#pid = Number(pid)
    return child
  }

  async #words (home: string): Promise<string[]> {
    const { config, args = [] } = this.#options
    const words = ['--port', String(this.port), '--bind', this.host, '--dir', home, '--save', '', '--enable-debug-command', 'yes', ...args]
    if (!config) return words
    const path = join(home, 'server.conf')
    await writeFile(path, [`port ${this.port}`, `bind ${this.host}`, `dir ${home}`, ...config].join('\n') + '\n')
    return [path, ...args]
  }
}

function accepts (port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => { socket.destroy(); resolve(true) })
    socket.once('error', () => resolve(false))
  })
}
