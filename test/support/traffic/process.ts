import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { RedisOptions } from '../../../src/redis/options.ts'
import type { Owner } from '../cleanup-scope.ts'
import { buildTrafficApp } from './app.ts'

/** Command to a process: open an app, or close it. */
type Order = { redis: RedisOptions, source: string } | 'close'

/** Starts a process that opens one app after the other, each with its own pool; ended with its owner. */
export async function startAppProcess (owner: Owner): Promise<AppProcess> {
  const child = fork(import.meta.filename, { execArgv: ['--disable-warning=ExperimentalWarning'] })
  owner.after(() => { child.kill('SIGKILL') })
  await once(child, 'message')
  return new AppProcess(child)
}

/** A process with an app. An unhandled rejection ends it, and then it no longer responds. */
export class AppProcess {
  readonly #child: ChildProcess

  constructor (child: ChildProcess) {
    this.#child = child
  }

  get isRunning (): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** @returns the app's address */
  async open (redis: RedisOptions, source: string): Promise<string> {
    return await this.#send({ redis, source })
  }

  /** Closes the app, with its pool. */
  async close (): Promise<void> {
    await this.#send('close')
  }

  async #send (order: Order): Promise<string> {
    const reply = Promise.race([once(this.#child, 'message'), once(this.#child, 'exit').then(([code]) => { throw new Error(`the process ended with ${code}`) })])
    this.#child.send(order)
    const [text] = await reply
    return text as string
  }
}

if (process.send !== undefined && import.meta.main) {
  let app: FastifyInstance | undefined
  process.on('message', (order: Order) => { obey(order).then((reply) => process.send?.(reply)) })
  process.on('disconnect', () => process.exit()) // the parent process has ended
  process.send('ready')

  async function obey (order: Order): Promise<string> {
    await app?.close()
    app = undefined
    if (order === 'close') return 'closed'
    app = await buildTrafficApp(order.redis, order.source)
    return await app.listen({ port: 0, host: '127.0.0.1' })
  }
}
