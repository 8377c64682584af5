import { Redis } from 'ioredis'
import { findRedisServer } from '../../service/dev-redis/find-binary.ts'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'

/** A server of the test's own, ended with it. */
export interface TestRedis {
  url: string
  host: string
  port: number
  /** The server's own, while it runs; another one after a restart. */
  readonly pid: number
  /** The program that was started. */
  bin: string
  /** A plain client, made when first asked for, ended with the test. */
  readonly client: Redis
  /** Kills the server and starts it again on its port, empty, with more options where given. */
  restart: (options?: { args?: string[] }) => Promise<void>
  /** Ends it as `kill -9` does and waits for the end; another signal is only sent. */
  kill: (signal?: NodeJS.Signals) => Promise<void>
  /** Ends the server before the test ends. */
  stop: () => Promise<void>
}

const tries = 5

/** Starts a plain Redis on a loopback port, so that proxies can stand before it; `args` as on redis-server's command line. */
export async function startRedis (t: Owner, { args = [] }: { args?: string[] } = {}): Promise<TestRedis> {
  const server = await start(t, args)
  const { url, host, port } = server
  let client: Redis | undefined
  t.after(() => client?.disconnect())

  return {
    url,
    host,
    port,
    bin: findRedisServer().path,
    get pid () { return server.pid },
    get client () { return (client ??= quietClient(port, host)) },
    restart: async (options) => await server.restart(options),
    kill: async (signal = 'SIGKILL') => signal === 'SIGKILL' ? await server.kill() : server.signal(signal),
    stop: async () => await server.kill()
  }
}

/** Draws another port where somebody took the first before the server did. */
async function start (t: Owner, args: string[], left = tries): Promise<RedisProcess> {
  try {
    return await startRedisProcess(t, { port: await freePort(), args })
  } catch (error) {
    if (left <= 1) throw error
    return await start(t, args, left - 1)
  }
}

function quietClient (port: number, host: string): Redis {
  const client = new Redis(port, host, { maxRetriesPerRequest: 1, retryStrategy: () => 50, disconnectTimeout })
  client.on('error', () => {}) // a test that takes its server down sees the rejected command
  return client
}
