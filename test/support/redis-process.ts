import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findRedisServer } from '../../service/dev-redis/find-binary.ts'
import { guard } from '../../service/dev-redis/watchdog.ts'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'
import { until } from './until.ts'

/** For all test clients: ioredis holds the process for 2 s for a connection that was closed before. */
export const disconnectTimeout = 100

/** Options of a process. */
export interface RedisProcessOptions {
  /** default: a free port */
  port?: number
  /** command line arguments of redis-server */
  args?: string[]
  /** lines of a config file; Sentinel needs one to store its state */
  config?: string[]
}

/** Options of a restart. */
export interface RestartOptions {
  /** true: with the data of `keepSnapshot`; default: empty */
  withSnapshot?: boolean
  /** additional command line arguments for this start */
  args?: string[]
}

/**
 * Starts a bare redis-server with its own port and folder, without a client; all end with the owner.
 *
 * Clusters, Sentinels and TLS servers consist of these.
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

/** One redis-server, which can be killed, paused, and restarted on its port. */
export class RedisProcess {
  readonly host = '127.0.0.1'
  readonly port: number
  readonly url: string
  /** true once `keepSnapshot` has saved data */
  hasSnapshot = false
  readonly #folder: string
  readonly #options: RedisProcessOptions
  readonly #snapshot: string
  #home = ''
  #child: ChildProcess | undefined
  #pid = 0
  #starts = 0

  constructor (folder: string, port: number, options: RedisProcessOptions) {
    this.port = port
    this.url = `redis://127.0.0.1:${port}`
    this.#folder = folder
    this.#snapshot = join(folder, 'snapshot.rdb')
    this.#options = options
  }

  /** false once it was killed */
  get isRunning (): boolean {
    return this.#child !== undefined
  }

  /** pid of the server while it runs */
  get pid (): number {
    return this.#pid
  }

  /** Starts it; resolves when it accepts connections, which can be before it has loaded its snapshot. */
  async start ({ withSnapshot = false, args = [] }: RestartOptions = {}): Promise<void> {
    this.#home = join(this.#folder, `run-${++this.#starts}`)
    await mkdir(this.#home)
    if (withSnapshot) await copyFile(this.#snapshot, join(this.#home, 'dump.rdb'))
    const child = await this.#spawn(this.#home, args)
    await until(() => {
      if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
      return accepts(this.port)
    }, { what: `redis-server accepts connections on ${this.port}` })
  }

  /** Kills it and restarts it on its port: empty, or with the last saved snapshot. */
  async restart (options: RestartOptions = {}): Promise<void> {
    await this.kill()
    await this.start(options)
  }

  /** Keeps the server's last `SAVE` for a later restart. */
  async keepSnapshot (): Promise<void> {
    await copyFile(join(this.#home, 'dump.rdb'), this.#snapshot)
    this.hasSnapshot = true
  }

  /** Ends it like `kill -9`. */
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
    child.stdin.on('error', () => {}) // the watchdog ended first: nothing is left to end
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
