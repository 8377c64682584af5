import t from 'tap'
import { buildLimitedApp } from '../support/limited-app.ts'

t.test('recipe of docs/rate-limits.md: failures alone count', async (t) => {
  const app = await buildLimitedApp(t, {
    limit: { quota: 1000 },
    routes: (app) => {
      const failures = { name: 'failed-logins', quota: 2, window: '10m' } as const
      app.post<{ Querystring: { fails?: string } }>('/login', {
        preHandler: async (request, reply) => {
          const { isAllowed, retryMs } = await app.rateLimits.peek(`ip:${request.ip}`, failures)
          if (!isAllowed) return await reply.code(429).header('retry-after', Math.ceil(retryMs / 1000)).send({ error: 'too many failures' })
        }
      }, async (request, reply) => {
        if (request.query.fails === undefined) return {}
        await app.rateLimits.check(`ip:${request.ip}`, failures)
        return await reply.code(401).send({})
      })
    }
  })
  const login = async (query: string, remoteAddress = '192.0.2.1') => (await app.inject({ method: 'POST', url: `/login${query}`, remoteAddress })).statusCode

  t.same([await login(''), await login(''), await login(''), await login('?fails=1'), await login('?fails=1'), await login('')], [200, 200, 200, 401, 401, 429])
  t.equal(await login('', '192.0.2.2'), 200, 'another client')
})

t.test('recipe of docs/rate-limits.md: allow by function, and no headers', async (t) => {
  const app = await buildLimitedApp(t, {
    limit: { quota: 2, cost: (request) => request.headers['x-monitor'] === 'secret' ? 0 : 1 },
    routes: (app) => {
      app.addHook('onSend', async (_request, reply) => { for (const name of ['ratelimit', 'ratelimit-policy']) reply.removeHeader(name) })
      app.get('/', async () => ({}))
    }
  })
  const send = async (headers = {}) => await app.inject({ url: '/', headers })

  for (let n = 0; n < 4; n++) t.equal((await send({ 'x-monitor': 'secret' })).statusCode, 200)
  const first = await send()
  t.notOk(first.headers.ratelimit ?? first.headers['ratelimit-policy'])
  t.same([first.statusCode, (await send()).statusCode, (await send()).statusCode], [200, 200, 429])
})

t.test('recipe of docs/rate-limits.md: a client is blocked after some rejections', async (t) => {
  const rejections = { name: 'rejections', quota: 2, window: '1h' } as const
  const app = await buildLimitedApp(t, {
    limit: { quota: 1, window: '1s', onExceeded: async (request, _reply, error) => { await app.rateLimits.check(`ip:${request.ip}`, rejections); throw error } },
    routes: (app) => {
      app.addHook('onRequest', async (request, reply) => {
        const { isAllowed } = await app.rateLimits.peek(`ip:${request.ip}`, rejections)
        if (!isAllowed) return await reply.code(403).send({ error: 'blocked' })
      })
      app.get('/', async () => ({}))
    }
  })
  const send = async () => (await app.inject('/')).statusCode

  t.same([await send(), await send(), await send()], [200, 429, 429])
  const deadline = Date.now() + 10_000
  let last = await send()
  while (last === 429 && Date.now() < deadline) last = await send()
  t.equal(last, 403, 'the quota is free again, and the client is blocked')
})
