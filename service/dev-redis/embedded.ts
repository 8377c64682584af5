import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RedisServerStartError } from '../../src/shared/errors.ts'
import { findRedisServer, type RedisServerBinary } from './find-binary.ts'
import { launchRedisServer, type RedisServer } from './launch.ts'

/** How the embedded server is started; all optional. */
interface EmbeddedRedisOptions {
  /** The program; without it, findRedisServer() looks. */
  bin?: RedisServerBinary | string
  /** Receives each line that the server prints. */
  log?: ((line: string) => void) | undefined
}

/** A running embedded server. */
export interface EmbeddedRedis extends RedisServer {
  /** `unix://<path>`, or `redis://127.0.0.1:<port>` where there are no unix sockets. */
  url: string
}

/** As a small managed Redis is set: nothing on disk, 256 MB, the least recently used goes first. */
const options = ['--save', '', '--appendonly', 'no', '--maxmemory', '256mb', '--maxmemory-policy', 'allkeys-lru', '--daemonize', 'no', '--logfile', '']
const socketPathBytes = 100 // sun_path holds 104 on macOS, 108 on Linux
const portTries = 5

/**
 * Starts a Redis server for development: a real one, of this process alone.
 * It listens on a unix socket in a private folder, so no other process meets it; it outlives a Ctrl-C until `stop()`, and dies with this process however that dies.
 *
 * @throws {RedisServerMissingError} PRISM_ERR_REDIS_SERVER_MISSING when there is no program to start
 * @throws {RedisServerStartError} PRISM_ERR_REDIS_SERVER_START when it does not start
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

/** A folder that only this user may enter; short enough a path for a socket in it. */
async function privateFolder (): Promise<string> {
  const base = Buffer.byteLength(tmpdir()) + '/prism-redis-XXXXXX/redis.sock'.length > socketPathBytes ? '/tmp' : tmpdir()
  return await mkdtemp(join(base, 'prism-redis-'))
}

/** A loopback port that nothing listens on now; somebody may take it before the server does, so be ready to try again. */
async function freePort (): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** Whether a server did not start because its port was taken meanwhile. */
function isPortTaken (error: unknown): boolean {
  return error instanceof RedisServerStartError && /already in use|bind|listening|listen on/i.test(error.message)
}
