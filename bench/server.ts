import { fork, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, setPriority } from 'node:os'

/** CPU assignment: each server runs alone on the first core; load and Redis share the last. */
export const cores = { server: 0, load: availableParallelism() - 1 }

/** Keeps the bench itself, and the Redis servers that it starts, off the core of the servers; with a higher priority than other work where that is allowed. */
export function pinBench (): void {
  try {
    setPriority(-5)
  } catch {} // only root may
  if (process.platform === 'linux') spawnSync('taskset', ['-acp', String(cores.load), String(process.pid)], { stdio: 'ignore' })
}

/** Pins a command to one core, if the system supports it. */
export function pinned (core: number, command: string[]): string[] {
  return process.platform === 'linux' ? ['taskset', '-c', String(core), ...command] : command
}

/** One server under test, in its own process. */
export class Server {
  readonly name: string
  readonly port: number
  readonly #child: ChildProcess

  constructor (name: string, port: number, child: ChildProcess) {
    this.name = name
    this.port = port
    this.#child = child
  }

  get url (): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Its CPU time so far, user and system, in microseconds. */
  get cpuMicroseconds (): number {
    return cpuMicrosecondsOf(this.#child.pid ?? 0)
  }

  tell (word: string): void {
    this.#child.send(word)
  }

  /** Its next output line. */
  async hear<Word> (): Promise<Word> {
    const [word] = await once(this.#child, 'message')
    return word as Word
  }

  stop (): void {
    this.#child.kill('SIGKILL')
  }
}

/** Starts a server of `bench/servers`, or of another file. */
export async function startServer (name: string, env: Record<string, string>, flags: readonly string[] = [], file: string | URL = new URL(`./servers/${name}.ts`, import.meta.url)): Promise<Server> {
  const [program = '', ...args] = pinned(cores.server, [process.execPath, ...flags])
  const child = fork(file, { execPath: program, execArgv: args, env: { ...process.env, NODE_ENV: 'production', ...env } })
  const [message] = await Promise.race([once(child, 'message'), once(child, 'exit').then(([code]) => { throw new Error(`server ${name} ended with ${code}`) })])
  return new Server(name, (message as { port: number }).port, child)
}

/** CPU time of a process so far, in microseconds: exact where the kernel has scheduler statistics, else counted in ticks of 10 ms. */
export function cpuMicrosecondsOf (pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum + nanosecondsOf(pid, task), 0) / 1000
  } catch {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) * 10_000
  }
}

function nanosecondsOf (pid: number, task: string): number {
  return Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
}
