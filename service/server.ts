import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import pino, { type Logger } from 'pino'
import { readConfig, type Config } from './config.ts'
import { ConfigError } from './errors.ts'
import { logOptions } from './log.ts'
import { startEmbeddedRedis, type EmbeddedRedis } from './dev-redis/embedded.ts'

/** Time after SIGTERM during which new connections are accepted, so that a load balancer sees readiness 503 before connections are refused. */
const drainMs = 500
/** Time after the signal at which open connections are destroyed. */
const closeConnectionsAfterMs = 4_000
/** Time after the signal at which the process exits with code 1 if it has not stopped. */
const deadlineMs = 4_900

/** Under npm, one Ctrl-C delivers SIGINT twice: a signal within this time after the first is a duplicate. */
const duplicateSignalMs = 1_000

/** Started components, stopped in reverse order. */
interface Running {
  redis?: EmbeddedRedis | undefined
  app?: FastifyInstance
}

// Halves the time until the service listens. Node disables the cache if the folder is not writable.
enableCompileCache(join(import.meta.dirname, '..', '.data', 'compile-cache'))

const config = configOrExit()
const output = pino.destination({ dest: 1, sync: true })
const log: Logger = pino(logOptions(config.logLevel), output)
const running: Running = {}
let stoppingSince: number | undefined

process.on('SIGTERM', () => stop('SIGTERM', drainMs))
process.on('SIGINT', () => stop('SIGINT', 0))
process.on('unhandledRejection', (error) => die(error, 'Unhandled promise rejection'))
process.on('uncaughtException', (error) => die(error, 'Uncaught exception'))

start().catch((error: unknown) => { if (stoppingSince === undefined) die(error, 'Service failed to start') })

async function start (): Promise<void> {
  for (const warning of config.warnings) log.warn(warning)
  running.redis = config.redisUrl === undefined ? await startEmbeddedRedis() : undefined
  if (stoppingSince !== undefined) return
  const { buildApp } = await import('./app.ts')
  const app = await buildApp(config, { redisUrl: config.redisUrl ?? running.redis?.url ?? '', log: output })
  running.app = app
  if (stoppingSince !== undefined) return
  await listen(app, config)
  announce(app)
}

/** Falls back from the default `::` to `0.0.0.0` on a machine without IPv6. */
async function listen (app: FastifyInstance, { host, port }: Config): Promise<void> {
  const { code } = await tryListen(app, host, port)
  if (code === 'EAFNOSUPPORT' && host === '::') await tryListen(app, '0.0.0.0', port)
}

async function tryListen (app: FastifyInstance, host: string, port: number): Promise<{ code?: string }> {
  try {
    await app.listen({ host, port, listenTextResolver: (address) => `Listening at ${address}` })
    return {}
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EAFNOSUPPORT' && host === '::') return { code }
    if (code === 'EADDRINUSE') throw new Error(`Port ${port} is in use: set PORT to another, or 0 for any that is free`, { cause: error })
    if (code === 'EACCES') throw new Error(`Port ${port} may not be used by this user: set PORT to one from 1024 on`, { cause: error })
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') throw new Error(`HOST ${host} is no address of this machine`, { cause: error })
    throw error
  }
}

/** Prints plain text to a terminal, and a log line otherwise. */
function announce (app: FastifyInstance): void {
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : config.port
  const host = ['::', '0.0.0.0'].includes(config.host) ? 'localhost' : config.host.includes(':') ? `[${config.host}]` : config.host
  const urls = ['/', '/docs', '/cities?q=paris&limit=3'].map((path) => `http://${host}:${port}${path}`)
  const [page, ...others] = urls
  if (process.stdout.isTTY) process.stdout.write(`\nOpen ${page} to see what fastify-prism does.\n${others.map((url) => `  ${url}\n`).join('')}\n`)
  else log.info({ urls }, 'Server ready')
}

/** Graceful shutdown: finishes pending requests, closes the app, then stops the embedded Redis. A second signal exits immediately. */
async function stop (signal: string, drainTimeMs: number): Promise<void> {
  if (stoppingSince !== undefined) return Date.now() - stoppingSince > duplicateSignalMs ? process.exit(1) : undefined
  stoppingSince = Date.now()
  log.info({ signal }, 'Stopping')
  setTimeout(() => die(new Error(`still busy after ${deadlineMs} ms`), 'Stopping took too long'), deadlineMs).unref()
  try {
    if (running.app !== undefined) await close(running.app, drainTimeMs)
    await running.redis?.stop()
    log.info('Stopped')
    process.exit(0)
  } catch (error) {
    die(error, 'Stopping failed')
  }
}

async function close (app: FastifyInstance, drainTimeMs: number): Promise<void> {
  app.drain()
  if (app.server.listening) await wait(drainTimeMs)
  const cut = setTimeout(() => app.server.closeAllConnections(), closeConnectionsAfterMs - drainTimeMs)
  await app.close()
  clearTimeout(cut)
}

function die (error: unknown, message: string): never {
  log.fatal({ error }, message)
  process.exit(1)
}

function configOrExit (): Config {
  try {
    return readConfig(process.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}
