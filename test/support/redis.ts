import { Redis } from 'ioredis'
import { findRedisServer } from '../../service/dev-redis/find-binary.ts'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'

/** A test's own server, ended with it. */
export interface TestRedis {
  url: string
  host: string
  port: number
  /** pid of the server while it runs; another one after a restart */
  readonly pid: number
  /** the server program */
  bin: string
  /** a plain client, created on first use, ended with the test */
  readonly client: Redis
  /** Kills the server and restarts it on its port, empty, with more arguments if given. */
  restart: (options?: { args?: string[] }) => Promise<void>
  /** Ends it like `kill -9` and waits for that; another signal is only sent. */
  kill: (signal?: NodeJS.Signals) => Promise<void>
  /** Ends the server before the test ends. */
  stop: () => Promise<void>
}

const tries = 5

/** Starts a plain Redis on a loopback port, so that proxies can be put in front of it; `args` are redis-server's command line arguments. */
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

/** Draws another port if another program took the first before the server did. */
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
  client.on('error', () => {}) // a test that stops its server sees the rejected command
  return client
}
