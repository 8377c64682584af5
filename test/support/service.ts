import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { testDatabase, testSecret } from './app.ts'
import type { Owner } from './cleanup-scope.ts'
import { startRedis } from './redis.ts'
import { until } from './until.ts'

const server = join(import.meta.dirname, '../../service/server.ts')

/** Exit of a service. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** The real service in its own process. */
export interface Service {
  /** `http://127.0.0.1:<port>` */
  url: string
  port: number
  pid: number
  /** its output so far, line by line, both streams */
  logs: string[]
  /** settles when it has exited */
  exit: Promise<Exit>
  /** Sends a signal, by default SIGTERM, and waits for the exit. */
  stop (signal?: NodeJS.Signals): Promise<Exit>
}

/** A started service that may never listen. */
export type Launched = Pick<Service, 'pid' | 'logs' | 'exit' | 'stop'>

/** Starts `service/server.ts` with this environment, and of the test's own only what finds and compiles programs; killed with the test. */
export function launchService (t: Owner, environment: Record<string, string>): Launched {
  const { PATH = '', REDIS_SERVER_BIN = '', NODE_COMPILE_CACHE = '' } = process.env
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', server], { env: { PATH, REDIS_SERVER_BIN, NODE_COMPILE_CACHE, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] })
  const logs: string[] = []
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', (line) => logs.push(line))
  const exit = new Promise<Exit>((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
  t.after(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return {
    pid: child.pid ?? 0,
    logs,
    exit,
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal)
      return await exit
    }
  }
}

/**
 * Starts the real service on a free loopback port, and waits until it listens and has connected to its Redis.
 *
 * Without REDIS_URL and DATABASE_PATH in `environment` it gets its own Redis and database.
 */
export async function startService (t: Owner, environment: Record<string, string> = {}): Promise<Service> {
  const service = await startListening(t, { ...environment, REDIS_URL: environment.REDIS_URL ?? (await startRedis(t)).url })
  await until(() => service.logs.some((line) => line.includes('"Connected to Redis"')), { what: 'the service reaches its Redis' })
  return service
}

/** Like `startService`, without waiting for Redis, for a Redis that is down. */
export async function startListening (t: Owner, environment: Record<string, string> & { REDIS_URL: string }): Promise<Service> {
  const DATABASE_PATH = environment.DATABASE_PATH ?? testDatabase(t)
  const launched = launchService(t, { PORT: '0', HOST: '127.0.0.1', SESSION_SECRET: testSecret, ...environment, DATABASE_PATH })
  const ended = launched.exit.then(() => { throw new Error(`the service ended:\n${launched.logs.join('\n')}`) })
  ended.catch(() => {}) // reported below, and irrelevant once it listens
  const url = await Promise.race([ended, until(() => addressIn(launched.logs), { what: 'the service listens', deadlineMs: 60_000 })])
  return { ...launched, url, port: Number(new URL(url).port) }
}

/** The readiness of a service. */
export async function readiness ({ url }: Pick<Service, 'url'>): Promise<{ status: string }> {
  return await (await fetch(`${url}/healthz/ready`)).json() as { status: string }
}

function addressIn (logs: readonly string[]): string | undefined {
  return logs.map((line) => /Listening at (http:\S+?)"/.exec(line)?.[1]).find((url) => url !== undefined)
}
