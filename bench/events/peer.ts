import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { startRedisProcess } from '../../test/support/redis-process.ts'
import type { Owner } from '../../test/support/cleanup-scope.ts'
import { cores, pinned } from '../server.ts'
import type { ClientCommand, Deliveries, Protocol } from './clients.ts'
import type { EventCommand } from './commands.ts'

/** A server program, and how its clients talk. */
export interface PeerDefinition { readonly file: string, readonly protocol: Protocol, readonly env?: Record<string, string> }

/** The events that one slot publishes. */
export type Publish = Omit<EventCommand & { do: 'publish' }, 'do'>

/** One slot: deliveries, CPU of the peer's processes for each of them, and CPU of its Redis for each event. */
export interface Slot extends Deliveries { readonly cpuMicroseconds: number, readonly redisMicroseconds: number }

const processes = 2
const flags = ['--no-allocation-site-pretenuring', '--expose-gc']

/** One peer: two processes, their own Redis, and the clients that another process holds. */
export class Peer {
  readonly name: string
  readonly #protocol: Protocol
  readonly #crowd: ChildProcess
  readonly #children: readonly ChildProcess[]
  readonly #ports: readonly number[]
  readonly #redisPid: number

  private constructor (name: string, protocol: Protocol, crowd: ChildProcess, children: readonly ChildProcess[], ports: readonly number[], redisPid: number) {
    this.name = name
    this.#protocol = protocol
    this.#crowd = crowd
    this.#children = children
    this.#ports = ports
    this.#redisPid = redisPid
  }

  static async start (owner: Owner, name: string, { file, protocol, env }: PeerDefinition, crowd: ChildProcess): Promise<Peer> {
    const redis = await startRedisProcess(owner)
    const children = Array.from({ length: processes }, () => startProcess(owner, file, cores.server, { REDIS_URL: redis.url, ...env }, flags))
    const ports = await Promise.all(children.map(async (child) => {
      const [message] = await Promise.race([once(child, 'message'), once(child, 'exit').then(([code]) => { throw new Error(`${name} ended with ${code}`) })])
      return (message as { port: number }).port
    }))
    return new Peer(name, protocol, crowd, children, ports, redis.pid)
  }

  /** CPU time of all its processes so far. */
  get cpuNs (): number {
    return this.#children.reduce((sum, { pid }) => sum + cpuNsOf(pid ?? 0), 0)
  }

  /** Connects clients, in turn to each process. */
  async connect (topics: number, from: number, to: number): Promise<void> {
    await call(this.#crowd, { do: 'connect', server: this.name, protocol: this.#protocol, ports: this.#ports, topics, from, to })
  }

  /** Heap in use after garbage collection, all processes together. */
  async heapBytes (): Promise<number> {
    const heaps = await Promise.all(this.#children.map((child) => call<number>(child, { do: 'heap' })))
    return heaps.reduce((sum, bytes) => sum + bytes, 0)
  }

  /** The first process publishes; ends when all clients have the events. */
  async runSlot (publish: Publish, clients: number): Promise<Slot> {
    const deliveries = publish.topics === 1 ? publish.count * clients : publish.count
    const [cpuNs, redisNs] = [this.cpuNs, cpuNsOf(this.#redisPid)]
    await call(this.#children[0], { do: 'publish', ...publish })
    const seen = await call<Deliveries>(this.#crowd, { do: 'expect', server: this.name, deliveries })
    if (seen.count !== deliveries) process.stderr.write(`${this.name}: ${seen.count} of ${deliveries} deliveries\n`)
    return { ...seen, cpuMicroseconds: (this.cpuNs - cpuNs) / 1000 / seen.count, redisMicroseconds: (cpuNsOf(this.#redisPid) - redisNs) / 1000 / publish.count }
  }
}

/** Starts the process that holds all clients. */
export function startClients (owner: Owner): ChildProcess {
  return startProcess(owner, './clients.ts', cores.load)
}

function startProcess (owner: Owner, file: string, core: number, env: Record<string, string> = {}, flags: readonly string[] = []): ChildProcess {
  const [program = '', ...args] = pinned(core, [process.execPath, ...flags])
  const child = fork(new URL(file, import.meta.url), { execPath: program, execArgv: args, env: { ...process.env, NODE_ENV: 'production', ...env } })
  owner.after(() => { child.kill('SIGKILL') })
  return child
}

async function call<Result> (child: ChildProcess | undefined, command: EventCommand | ClientCommand): Promise<Result> {
  if (child === undefined) throw new Error('no process')
  const message = once(child, 'message')
  child.send(command)
  const [value] = await message
  return value as Result
}

/** CPU time of all threads of a process so far. */
function cpuNsOf (pid: number): number {
  const folder = `/proc/${pid}/task`
  return readdirSync(folder).reduce((sum, task) => sum + Number(readFileSync(`${folder}/${task}/schedstat`, 'utf8').split(' ')[0]), 0)
}
