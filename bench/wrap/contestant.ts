import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MeasuredRedis } from '../interleaved/redis-figures.ts'
import type { Contestant, Slot } from '../interleaved/slots.ts'
import { cores, pinned } from '../server.ts'
import type { CallOrder, Called, KeysOrder } from './worker.ts'

const settleMs = 5

/** A process with a cache of function results. */
export class Worker {
  readonly #child: ChildProcess

  private constructor (child: ChildProcess) {
    this.#child = child
  }

  static async start (file: URL, redis: MeasuredRedis, flags: readonly string[] = []): Promise<Worker> {
    const [program = '', ...args] = pinned(cores.server, [process.execPath, ...flags])
    const child = fork(new URL('./worker.ts', import.meta.url), { execPath: program, execArgv: args, env: { ...process.env, NODE_ENV: 'production', PEER: file.href, REDIS_URL: redis.url } })
    await Promise.race([once(child, 'message'), once(child, 'exit').then(([code]) => { throw new Error(`${file.pathname} ended with ${code}`) })])
    return new Worker(child)
  }

  async tell<Told> (order: CallOrder | KeysOrder): Promise<Told> {
    const heard = once(this.#child, 'message')
    this.#child.send(order)
    const [{ told }] = await heard
    return told
  }

  stop (): void {
    this.#child.kill('SIGKILL')
  }
}

/** A worker that calls its cache in its slots. */
export class CallingWorker implements Contestant {
  readonly name: string
  /** medians of the slots in which one caller called */
  readonly p50Ms: number[] = []
  readonly #worker: Worker
  readonly #redis: MeasuredRedis
  readonly #order: Omit<CallOrder, 'do' | 'ms'>

  constructor (name: string, worker: Worker, redis: MeasuredRedis, order: Omit<CallOrder, 'do' | 'ms'>) {
    this.name = name
    this.#worker = worker
    this.#redis = redis
    this.#order = order
  }

  async runSlot (ms: number): Promise<Slot> {
    const redisBefore = this.#redis.cpuMicroseconds
    const called = await this.#worker.tell<Called>({ do: 'call', ms, ...this.#order })
    await sleep(settleMs)
    this.p50Ms.push(called.p50Ms)
    return { ...called, redisMicroseconds: this.#redis.cpuMicroseconds - redisBefore }
  }
}
