'use strict'

const Fastify = require('fastify')
const { default: prism } = require('fastify-prism')

exports.buildApp = async function buildApp () {
  const app = Fastify()
  await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'commonjs:' }, session: { secrets: [process.env.SESSION_SECRET] } })
  app.get('/time', { config: { cache: { ttl: '1m', tags: ['time'] } } }, async () => ({ at: process.hrtime.bigint().toString() }))
  app.get('/limited', { config: { rateLimit: { quota: 1 } } }, async () => 'one')
  app.post('/sign-in', async (request) => { await request.session.signIn('ada'); return {} })
  app.get('/me', { config: { session: 'required' } }, async (request) => ({ user: request.session.userId }))
  return app
}
