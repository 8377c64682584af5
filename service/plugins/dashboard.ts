import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from '../../plugins/index.ts'
import { AdminAuth } from '../../plugins/metrics.ts'
import { EntryFinder } from '../dashboard/entry-finder.ts'
import { alertCards } from '../dashboard/alert-cards.ts'
import { pointOf, pointsOf } from '../dashboard/chart-point.ts'
import { LastRedis } from '../dashboard/redis-view.ts'
import { RouteTable } from '../dashboard/route-table.ts'
import { readRunbook } from '../dashboard/runbook.ts'
import type { Runbook } from '../dashboard/runbook.ts'
import type {} from './alerts.ts'

/** Access to the dashboard. */
interface OpsOptions {
  /** undefined: no authentication; with `isProduction` the dashboard is disabled */
  token?: string | undefined
  isProduction?: boolean
}

const cookieName = 'prism_operator'
const rejectedShown = 8
const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'))
const read = (name: string) => readFileSync(new URL(`../dashboard/${name}`, import.meta.url))
const files: Readonly<Record<string, readonly [type: string, body: Buffer]>> = {
  'page.js': ['text/javascript', read('page.js')],
  'state.js': ['text/javascript', read('state.js')],
  'tables.js': ['text/javascript', read('tables.js')],
  'charts.js': ['text/javascript', read('charts.js')],
  'cache.js': ['text/javascript', read('cache.js')],
  'form.js': ['text/javascript', read('form.js')],
  'login.js': ['text/javascript', read('login.js')],
  'page.css': ['text/css', read('page.css')],
  'uplot.js': ['text/javascript', readFileSync(join(uplot, 'dist/uPlot.iife.min.js'))],
  'uplot.css': ['text/css', readFileSync(join(uplot, 'dist/uPlot.min.css'))]
}
const pages = { dashboard: read('page.html'), login: read('login.html'), runbook: read('runbook.html').toString() }

const securityFields = {
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store'
} as const

const plain = { config: { rateLimit: false, cache: false, session: false }, schema: { hide: true } } as const
// Unsafe methods: the session plugin provides the origin check.
const changing = { config: { cache: false }, schema: { hide: true }, onRequest: refuseOtherOrigins } as const

/** The session plugin checks the origin only of requests with a session cookie; the admin cookie is not one. */
async function refuseOtherOrigins ({ isFromOtherOrigin }: FastifyRequest): Promise<void> {
  if (isFromOtherOrigin) throw new errors.OriginError()
}

/**
 * `GET /ops`: dashboard with the firing alerts, their remedies, and charts of the last hour.
 */
export default fp<OpsOptions>(async (fastify, { token, isProduction = false }) => {
  const adminAuth = new AdminAuth(token, isProduction)
  const requireAdmin = (request: FastifyRequest) => adminAuth.check(request.headers.authorization, adminTokenOf(request))
  const isAdmin = (request: FastifyRequest) => {
    try {
      requireAdmin(request)
      return true
    } catch (error) {
      if (!(error instanceof errors.AdminAuthError)) throw error
      return false
    }
  }
  const streams = new Set<Readable>()
  const entries = new EntryFinder(fastify.cache)
  const sources: Sources = { routes: new RouteTable(), redis: new LastRedis(), runbook: readRunbook() }

  fastify.addHook('onRoute', (route) => {
    if ([route.method].flat().includes('GET')) entries.add(route.url)
  })
  fastify.metrics.onReading(({ at }) => {
    sources.routes.add(at, fastify.metrics.routes)
    sources.redis.update(fastify.metrics)
    const text = block('now', nowOf(fastify, sources))
    for (const stream of streams) if (stream.readableLength < 1_000_000) stream.push(text)
  })
  fastify.addHook('preClose', async () => { for (const stream of streams) stream.push(null) })

  fastify.get('/ops', plain, async (request, reply) => {
    const page = isAdmin(request) ? pages.dashboard : pages.login
    return reply.headers(securityFields).type('text/html; charset=utf-8').send(page)
  })

  fastify.get<{ Params: { file: string } }>('/ops/:file', plain, async (request, reply) => {
    const [type, body] = (Object.hasOwn(files, request.params.file) ? files[request.params.file] : undefined) ?? []
    if (!adminAuth.isEnabled || type === undefined) return reply.callNotFound()
    return reply.headers({ ...securityFields, 'cache-control': 'no-cache' }).type(`${type}; charset=utf-8`).send(body)
  })

  fastify.get<{ Params: { section: string } }>('/ops/runbook/:section', plain, async (request, reply) => {
    requireAdmin(request)
    const section = sources.runbook.section(request.params.section)
    if (section === undefined) return reply.callNotFound()
    const page = pages.runbook.replaceAll('{{title}}', () => escapeHtml(section.title)).replace('{{text}}', () => escapeHtml(section.text))
    return reply.headers(securityFields).type('text/html; charset=utf-8').send(page)
  })

  fastify.get('/ops/feed', { ...plain, exposeHeadRoute: false }, async (request, reply) => {
    requireAdmin(request)
    const body = new Readable({ read () {} })
    streams.add(body)
    body.once('close', () => streams.delete(body))
    body.push(block('history', pointsOf(fastify.metrics.history.all)) + block('now', nowOf(fastify, sources)))
    return reply.headers({ 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' }).send(body)
  })

  fastify.post<{ Body: { token: string } }>('/ops/session', { ...changing, config: { ...changing.config, rateLimit: { quota: 5, group: 'operator' } }, schema: { hide: true, body: { type: 'object', required: ['token'], properties: { token: { type: 'string', maxLength: 1000 } } } } }, async (request, reply) => {
    if (!adminAuth.isEnabled) return reply.callNotFound()
    if (!adminAuth.isToken(request.body.token)) throw new errors.AdminAuthError()
    const { ticket, maxAgeSeconds } = adminAuth.issueToken()
    const isSecure = request.protocol === 'https' || /^https\b/.test(String(request.headers['x-forwarded-proto']))
    return reply.header('set-cookie', `${cookieName}=${ticket}; Path=/ops; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`).code(204).send()
  })

  fastify.post<{ Body: { tags: string[] } }>('/ops/purge', { ...changing, schema: { hide: true, body: { type: 'object', required: ['tags'], properties: { tags: { type: 'array', minItems: 1, maxItems: 20, items: { type: 'string', minLength: 1, maxLength: 200 } } } } } }, async (request, reply) => {
    requireAdmin(request)
    await fastify.cache.purge(...request.body.tags)
    request.log.info({ tags: request.body.tags }, 'Admin purged cached responses')
    return reply.code(204).send()
  })

  fastify.post('/ops/alert-test', changing, async (request, reply) => {
    requireAdmin(request)
    request.log.info('Admin sent a test alert')
    return reply.header('cache-control', 'no-store').send(await fastify.alerts.test())
  })

  // POST, so that the inspected URL, which may contain secrets, is not part of a logged URL.
  fastify.post<{ Body: { url: string } }>('/ops/entry', { ...changing, schema: { hide: true, body: { type: 'object', required: ['url'], properties: { url: { type: 'string', pattern: '^(/|https?://)', maxLength: 2000 } } } } }, async (request, reply) => {
    requireAdmin(request)
    const view = await entries.find(request.body.url, request)
    request.log.info({ route: view.route, found: view.found }, 'Admin inspected a cached response')
    return reply.header('cache-control', 'no-store').send(view)
  })
}, { name: 'fastify-prism/ops', fastify: '5.x', dependencies: ['fastify-prism/metrics', 'fastify-prism/alerts', 'fastify-prism/cache'] })

function adminTokenOf ({ headers }: FastifyRequest): string | undefined {
  return new RegExp(`(?:^|; *)${cookieName}=([^;]*)`).exec(headers.cookie ?? '')?.[1]
}

function block (event: string, value: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(value)}\n\n`
}

function escapeHtml (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

/** What the page shows beside the metrics. */
interface Sources {
  readonly routes: RouteTable
  readonly redis: LastRedis
  readonly runbook: Runbook
}

/** Data that each event stream client receives with each metrics snapshot. */
function nowOf ({ metrics, alerts, redisPool }: FastifyInstance, { routes, redis, runbook }: Sources): object {
  const [before, last] = metrics.history.all.slice(-2)
  const minute = metrics.history.window(60)
  return {
    at: Date.now(),
    point: before === undefined || last === undefined ? null : pointOf(before, last),
    minute: minute === undefined ? null : pointOf(...minute),
    alerts: alertCards(alerts, runbook),
    unusable: redisPool.reasonWithAddress ?? redisPool.namedPools.get('sessions')?.reasonWithAddress ?? null,
    redis: redis.view,
    unknownSince: redis.unknownSince,
    process: metrics.presence.own,
    processes: metrics.presence.all ?? null,
    routes: routes.rows,
    rejected: metrics.topRateLimited.top(rejectedShown)
  }
}
