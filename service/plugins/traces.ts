import { createRequire } from 'node:module'
import { setTimeout as wait } from 'node:timers/promises'
import type {} from '@fastify/otel'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type {} from '../../plugins/index.ts'
import { cacheOutcomeOf } from '../../plugins/metrics.ts'

/** Destination of traces. */
interface TracesOptions {
  /** OTLP/HTTP endpoint, without `/v1/traces` */
  url: string
}

const batched = Symbol('prism.batch')
type BatchSize = FastifyInstance['redisPool']['batch']['collecting']
type Traced = FastifyRequest & { [batched]: BatchSize | null | undefined }

const flushTimeoutMs = 1000
const logIntervalMs = 60_000

/**
 * Traces each request and its Redis commands with OpenTelemetry. Span attributes are the cache outcome, the size of the Redis batch and the
 * rate limit decision; the request's log lines contain `traceId` and `spanId`. An incoming `traceparent` is continued.
 *
 * OpenTelemetry is imported only on registration. If its packages are missing, a warning is logged and tracing stays off.
 * Register this plugin before the routes to trace.
 */
export default fp<TracesOptions>(async (fastify, { url }) => {
  const packages = await load(fastify)
  if (packages === undefined) return
  const { otel: { FastifyOtelInstrumentation }, sdk } = packages
  const provider = provide(packages, url)
  report(packages, fastify)
  traceRedis(packages, provider)
  // The path may contain secrets, so the span has the route pattern. Hooks are not instrumented: they are many and short.
  const requests = new FastifyOtelInstrumentation({ instrumentHooks: false, requestHook: (span, { routeOptions }) => { span.setAttribute('url.path', routeOptions.url ?? 'none') } })
  requests.setTracerProvider(provider)

  fastify.decorateRequest(batched, null)
  fastify.addHook('onRoute', (route) => { route.onSend = [...[route.onSend ?? []].flat(), function describeSpan (request, reply, _payload, done) { describe(request as Traced, reply); done() }] })
  fastify.addHook('onResponse', function describeSpan (request, reply, done) { describe(request as Traced, reply); done() }) // without a matching route the span is still open here
  await fastify.register(requests.plugin())
  fastify.addHook('onRequest', function nameSpan (request, reply, done) {
    ;(request as Traced)[batched] = fastify.redisPool.batch.collecting
    name(request, reply)
    done()
  })
  fastify.addHook('onClose', async () => { await Promise.race([provider.shutdown(), wait(flushTimeoutMs, undefined, { ref: false })]) })
  fastify.log.info({ service: sdk.resource.attributes['service.name'] }, 'Traces are sent')
}, { name: 'fastify-prism/traces', fastify: '5.x' })

/** Imports the optional packages, only when tracing is on: they are slow to load. */
async function load ({ log }: FastifyInstance) {
  try {
    const [api, otel, trace, exporter, redis, resources] = await Promise.all([
      import('@opentelemetry/api'), import('@fastify/otel'), import('@opentelemetry/sdk-trace-node'),
      import('@opentelemetry/exporter-trace-otlp-http'), import('@opentelemetry/instrumentation-ioredis'), import('@opentelemetry/resources')
    ])
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    const resource = resources.resourceFromAttributes({ 'service.name': 'fastify-prism' }).merge(resources.detectResources({ detectors: [resources.envDetector] }))
    return { api, otel, exporter, redis, sdk: { ...trace, resource } }
  } catch (error) {
    log.warn({ reason: error instanceof Error ? error.message.split('\n')[0] : String(error) }, 'OTEL_EXPORTER_OTLP_ENDPOINT is set, but the packages of OpenTelemetry cannot be loaded: nothing is traced. Start with npm start, which installs them, or build the image with --build-arg TRACING=true')
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

/** Logs export failures at most once a minute. */
function report ({ api: { diag, DiagLogLevel } }: Packages, { log }: FastifyInstance): void {
  let loggedAt = -Infinity
  const silent = () => {}
  const error = (...reasons: unknown[]) => {
    if (performance.now() - loggedAt < logIntervalMs) return
    loggedAt = performance.now()
    log.warn({ reason: reasons.map(String).join(' ').slice(0, 300) }, 'Traces could not be sent')
  }
  diag.setLogger({ error, warn: silent, info: silent, debug: silent, verbose: silent }, { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true })
}

/** Redis commands are child spans of the request that started their batch, by command name only: keys and values are not exported. */
function traceRedis ({ redis: { IORedisInstrumentation } }: Packages, provider: Provider): void {
  const commands = new IORedisInstrumentation({ requireParentSpan: true, dbStatementSerializer: (command) => command })
  commands.setTracerProvider(provider)
  // The instrumentation patches ioredis on require(); the earlier import has the same classes.
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
  const rejecting = reply.statusCode === 429 ? limits.filter(({ retryMs }) => retryMs > 0).map((each) => each.name) : []
  span.setAttributes({
    'prism.cache.outcome': cacheOutcomeOf(reply.getHeader('cache-status')),
    ...limits.length === 0 ? {} : { 'prism.rate_limit.outcome': rejecting.length > 0 ? 'rejected' : 'allowed' },
    ...rejecting.length === 0 ? {} : { 'prism.rate_limit.policy': rejecting.join(',') },
    ...request[batched] == null ? {} : { 'prism.batch.operations': request[batched].operations, 'prism.batch.commands': request[batched].commands }
  })
}
