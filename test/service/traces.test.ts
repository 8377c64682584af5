import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { startService } from '../support/service.ts'
import type { Service } from '../support/service.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

interface Attribute { key: string, value: { stringValue?: string, intValue?: number } }
interface Span { traceId: string, spanId: string, parentSpanId?: string, name: string, attributes: Attribute[] }
interface Export { resourceSpans: { resource: { attributes: Attribute[] }, scopeSpans: { spans: Span[] }[] }[] }

/** A receiver of traces by OTLP over HTTP. */
async function receiver (t: Test): Promise<{ url: string, spans: Span[], services: Set<unknown> }> {
  const spans: Span[] = []
  const services = new Set<unknown>()
  const server = createServer(async (request, response) => {
    const { resourceSpans } = await new Response(request as never).json() as Export
    if (request.url !== '/v1/traces') return response.writeHead(404).end()
    for (const { resource, scopeSpans } of resourceSpans) {
      services.add(factsOf(resource)['service.name'])
      spans.push(...scopeSpans.flatMap((scope) => scope.spans))
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, services }
}

function factsOf ({ attributes }: { attributes: Attribute[] }): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]))
}

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`
/** Rejects imports of OpenTelemetry's packages, as if they were not installed, and prints them. */
const hook = `import { registerHooks } from 'node:module'
registerHooks({ resolve (name, context, next) {
  if (!/^@(fastify\\/otel|opentelemetry\\/(?!api$))/.test(name)) return next(name, context)
  console.error('import of ' + name)
  throw Object.assign(new Error("Cannot find package '" + name + "'"), { code: 'ERR_MODULE_NOT_FOUND' })
} })`
const withoutPackages = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(hook)}` }
const lines = ({ logs }: Service, text: string) => logs.filter((line) => line.includes(text))

t.test('a request\'s span contains cache outcome, batch size and limit decision, and its commands are child spans', async (t) => {
  const { url, spans, services } = await receiver(t)
  const service = await startService(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_BSP_SCHEDULE_DELAY: '50' })
  const requests = (route: string) => spans.filter((span) => span.name === 'request' && factsOf(span)['http.route'] === route).map((span) => ({ ...span, facts: factsOf(span) }))

  await until(async () => {
    await fetch(`${service.url}/cities/2988507?secret=1`, { headers: { traceparent } })
    return requests('/cities/:id').some(({ facts }) => facts['prism.cache.outcome'] === 'hit')
  }, { what: 'the span of a hit', everyMs: 50, deadlineMs: 60_000 })
  await until(async () => {
    await fetch(`${service.url}/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"name":"unknown","password":"wrong wrong"}' })
    return requests('/session').some(({ facts }) => facts['prism.rate_limit.outcome'] === 'rejected')
  }, { what: 'the span of a rejection', everyMs: 50, deadlineMs: 60_000 })

  const [first] = requests('/cities/:id')
  t.match(first, { traceId, parentSpanId: '00f067aa0ba902b7', facts: { 'url.path': '/cities/:id', 'prism.rate_limit.outcome': 'allowed', 'http.response.status_code': 200 } })
  t.ok(Number(first?.facts['prism.batch.operations']) >= Number(first?.facts['prism.batch.commands']) && Number(first?.facts['prism.batch.commands']) > 0)
  t.ok(spans.some((span) => span.parentSpanId === first?.spanId && factsOf(span)['db.system.name'] === 'redis'), 'a command is its child')
  t.same([...new Set(spans.filter((span) => 'db.query.text' in factsOf(span)).map((span) => factsOf(span)['db.query.text'] === span.name))], [true], 'only the names of commands are recorded')
  t.match(requests('/session').find(({ facts }) => facts['prism.rate_limit.outcome'] === 'rejected')?.facts, { 'prism.rate_limit.policy': String, 'http.response.status_code': 429 })
  t.notMatch(JSON.stringify(spans), /2988507|secret=1/)
  t.same([...services], ['fastify-prism'])
  await until(() => lines(service, '"request completed"').some((line) => line.includes(`"traceId":"${traceId}"`) && line.includes(`"spanId":"${first?.spanId}"`)), { what: 'the log contains trace and span' })
  t.match(await service.stop(), { code: 0 })
})

t.test('missing OpenTelemetry packages are logged in one line, and the service runs', async (t) => {
  const service = await startService(t, { ...withoutPackages, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' })

  const { status } = await fetch(`${service.url}/cities/2988507`)

  t.equal(status, 200)
  await until(() => lines(service, 'nothing is traced').length > 0, { what: 'the log line' })
  t.equal(lines(service, 'nothing is traced').length, 1)
  t.match(lines(service, 'nothing is traced')[0], /Cannot find package '@(fastify\/otel|opentelemetry)/)
})

t.test('OpenTelemetry is not imported if traces are off', async (t) => {
  const service = await startService(t, withoutPackages)

  await fetch(`${service.url}/cities/2988507`, { headers: { traceparent } })
  await until(() => lines(service, '"request completed"').length > 0, { what: 'the request is logged' })

  t.same(lines(service, 'import of'), [])
  t.same(lines(service, 'trace'), [])
})

t.test('an unreachable trace receiver is logged once, and delays no request', async (t) => {
  const service = await startService(t, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_BSP_SCHEDULE_DELAY: '20', OTEL_EXPORTER_OTLP_TIMEOUT: '200' })

  for (let round = 0; round < 5; round++) t.equal((await fetch(`${service.url}/cities/2988507`)).status, 200)
  await until(() => lines(service, 'Traces could not be sent').length > 0, { what: 'the log line', deadlineMs: 30_000 })

  t.match(await service.stop(), { code: 0 })
  t.equal(lines(service, 'Traces could not be sent').length, 1)
})
