import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RedisServerStartError } from '../errors.ts'
import { findRedisServer, type RedisServerBinary } from './find-binary.ts'
import { launchRedisServer, type RedisServer } from './launch.ts'

/** Options of the embedded server; all optional. */
interface EmbeddedRedisOptions {
  /** the program; default: the result of findRedisServer() */
  bin?: RedisServerBinary | string
  /** called with each line that the server prints */
  log?: ((line: string) => void) | undefined
}

/** A running embedded server. */
export interface EmbeddedRedis extends RedisServer {
  /** `unix://<path>`, or `redis://127.0.0.1:<port>` on a system without unix sockets */
  url: string
}

/** Configured like a small managed Redis: no persistence, 256 MB, least recently used keys are evicted. */
const options = ['--save', '', '--appendonly', 'no', '--maxmemory', '256mb', '--maxmemory-policy', 'allkeys-lru', '--daemonize', 'no', '--logfile', '']
const socketPathBytes = 100 // sun_path is limited to 104 bytes on macOS, 108 on Linux
const portTries = 5

/**
 * Starts a Redis server for development, used by this process only.
 * It listens on a unix socket in a private folder. It survives Ctrl-C until `stop()`, and ends with this process however that ends.
 *
 * @throws {RedisServerMissingError} PRISM_ERR_REDIS_SERVER_MISSING if there is no server program
 * @throws {RedisServerStartError} PRISM_ERR_REDIS_SERVER_START if it does not start
 */
export async function startEmbeddedRedis ({ bin = findRedisServer(), log }: EmbeddedRedisOptions = {}): Promise<EmbeddedRedis> {
  const binary = typeof bin === 'string' ? { path: bin, env: {} } : bin
  return process.platform === 'win32' ? await onLoopback(binary, log) : await onSocket(binary, log)
}

async function onSocket (binary: RedisServerBinary, log: EmbeddedRedisOptions['log']): Promise<EmbeddedRedis> {
  const folder = await privateFolder()
  const socket = join(folder, 'redis.sock')
  const server = await launchRedisServer({ binary, folder, log, args: [...options, '--port', '0', '--unixsocket', socket, '--unixsocketperm', '700'] })
  return { ...server, url: `unix://${socket}` }
}

async function onLoopback (binary: RedisServerBinary, log: EmbeddedRedisOptions['log'], tries = portTries): Promise<EmbeddedRedis> {
  const folder = await privateFolder()
  const port = await freePort()
  try {
    const server = await launchRedisServer({ binary, folder, log, args: [...options, '--bind', '127.0.0.1', '--port', String(port)] })
    return { ...server, url: `redis://127.0.0.1:${port}` }
  } catch (error) {
    if (tries > 1 && isPortTaken(error)) return await onLoopback(binary, log, tries - 1)
    throw error
  }
}

/** A folder that only this user can enter, with a path short enough for a unix socket. */
async function privateFolder (): Promise<string> {
  const base = Buffer.byteLength(tmpdir()) + '/prism-redis-XXXXXX/redis.sock'.length > socketPathBytes ? '/tmp' : tmpdir()
  return await mkdtemp(join(base, 'prism-redis-'))
}

/** A free loopback port; another process can take it before the server does, so the caller retries. */
async function freePort (): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** Whether a server did not start because its port is in use. */
function isPortTaken (error: unknown): boolean {
  return error instanceof RedisServerStartError && /already in use|bind|listening|listen on/i.test(error.message)
}
