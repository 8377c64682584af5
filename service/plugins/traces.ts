import { createRequire } from 'node:module'
import { setTimeout as wait } from 'node:timers/promises'
import type {} from '@fastify/otel'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { cacheOutcomeOf } from '../../src/metrics/requests.ts'
import type { BatchSize } from '../../src/redis/batch/batch.ts'
import type {} from '../../plugins/rate-limit.ts'
import type {} from '../../plugins/redis.ts'

/** Where traces go. */
export interface TracesOptions {
  /** an OTLP receiver's, without `/v1/traces` */
  url: string
}

const batched = Symbol('prism.batch')
type Traced = FastifyRequest & { [batched]: BatchSize | null | undefined }

const lastWordsMs = 1000
const complainEveryMs = 60_000

/**
 * Traces each request with OpenTelemetry, and each command that Redis is sent for it: what the cache did, how much the batch carried that its
 * asks left with, and what the limits decided are attributes; trace and span stand in the request's log lines. `traceparent` is taken up.
 *
 * Nothing of OpenTelemetry is imported before this is registered. Where its packages are missing, one line says so, and nothing is traced.
 * Register it before whatever shall be traced.
 */
export default fp<TracesOptions>(async (fastify, { url }) => {
  const packages = await load(fastify)
  if (packages === undefined) return
  const { otel: { FastifyOtelInstrumentation }, sdk } = packages
  const provider = provide(packages, url)
  report(packages, fastify)
  traceRedis(packages, provider)
  // A path may hold what a trace must not know; and our hooks are many and short.
  const requests = new FastifyOtelInstrumentation({ instrumentHooks: false, requestHook: (span, { routeOptions }) => { span.setAttribute('url.path', routeOptions.url ?? 'none') } })
  requests.setTracerProvider(provider)

  fastify.decorateRequest(batched, null)
  fastify.addHook('onRoute', (route) => { route.onSend = [...[route.onSend ?? []].flat(), function settle (request, reply, _payload, done) { describe(request as Traced, reply); done() }] })
  fastify.addHook('onResponse', function tally (request, reply, done) { describe(request as Traced, reply); done() }) // without a route the span is still open
  await fastify.register(requests.plugin())
  fastify.addHook('onRequest', function ask (request, reply, done) {
    ;(request as Traced)[batched] = fastify.redisPool.batch.collecting
    name(request, reply)
    done()
  })
  fastify.addHook('onClose', async () => { await Promise.race([provider.shutdown(), wait(lastWordsMs, undefined, { ref: false })]) })
  fastify.log.info({ service: sdk.resource.attributes['service.name'] }, 'Traces are sent')
}, { name: 'fastify-prism/traces', fastify: '5.x' })

/** Everything that tracing needs besides; in one place, so that nothing of it is read while nobody traces. */
async function load ({ log }: FastifyInstance) {
  try {
    const [api, otel, trace, exporter, redis, resources] = await Promise.all([
      import('@opentelemetry/api'), import('@fastify/otel'), import('@opentelemetry/sdk-trace-node'),
      import('@opentelemetry/exporter-trace-otlp-http'), import('@opentelemetry/instrumentation-ioredis'), import('@opentelemetry/resources')
    ])
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
    const resource = resources.resourceFromAttributes({ 'service.name': 'fastify-prism' }).merge(resources.detectResources({ detectors: [resources.envDetector] }))
    return { api, otel, exporter, redis, sdk: { ...trace, resource } }
  } catch (error) {
    log.warn({ reason: error instanceof Error ? error.message.split('\n')[0] : String(error) }, 'OTEL_EXPORTER_OTLP_ENDPOINT is set, but the packages of OpenTelemetry cannot be loaded: nothing is traced. Install them with npm ci, without --omit=optional')
    return undefined
  }
}

type Packages = NonNullable<Awaited<ReturnType<typeof load>>>
type Provider = InstanceType<Packages['sdk']['NodeTracerProvider']>

function provide ({ sdk, exporter }: Packages, url: string): Provider {
  const sender = new exporter.OTLPTraceExporter({ url: `${url.replace(/\/+$/, '')}/v1/traces` })
  const provider = new sdk.NodeTracerProvider({ resource: sdk.resource, spanProcessors: [new sdk.BatchSpanProcessor(sender)] })
  provider.register()
  return provider
}

/** A receiver that is away is told once a minute, not with each try. */
function report ({ api: { diag, DiagLogLevel } }: Packages, { log }: FastifyInstance): void {
  let toldAt = -Infinity
  const silent = () => {}
  const error = (...reasons: unknown[]) => {
    if (performance.now() - toldAt < complainEveryMs) return
    toldAt = performance.now()
    log.warn({ reason: reasons.map(String).join(' ').slice(0, 300) }, 'Traces could not be sent')
  }
  diag.setLogger({ error, warn: silent, info: silent, debug: silent, verbose: silent }, { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true })
}

/** Commands as children of the request whose asks began their batch, by name alone: keys and values stay here. */
function traceRedis ({ redis: { IORedisInstrumentation } }: Packages, provider: Provider): void {
  const commands = new IORedisInstrumentation({ requireParentSpan: true, dbStatementSerializer: (command) => command })
  commands.setTracerProvider(provider)
  // It changes ioredis when somebody requires it; we have imported it long ago, and both are the same classes.
  createRequire(import.meta.url)('ioredis')
}

function name (request: FastifyRequest, reply: FastifyReply): void {
  const { span } = request.opentelemetry()
  if (span == null) return
  const { traceId, spanId } = span.spanContext()
  request.log = reply.log = request.log.child({ traceId, spanId })
}

function describe (request: Traced, reply: FastifyReply): void {
  const { span } = request.opentelemetry()
  if (span == null) return
  const limits = request.rateLimit ?? []
  const refusing = reply.statusCode === 429 ? limits.filter(({ retryMs }) => retryMs > 0).map((each) => each.name) : []
  span.setAttributes({
    'prism.cache.outcome': cacheOutcomeOf(reply.getHeader('cache-status')),
    ...limits.length === 0 ? {} : { 'prism.rate_limit.outcome': refusing.length > 0 ? 'refused' : 'allowed' },
    ...refusing.length === 0 ? {} : { 'prism.rate_limit.policy': refusing.join(',') },
    ...request[batched] == null ? {} : { 'prism.batch.asks': request[batched].operations, 'prism.batch.commands': request[batched].commands }
  })
}
