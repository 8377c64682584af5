import { Agent, get } from 'node:http'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { testDatabase } from '../support/app.ts'
import { startService, type Service } from '../support/service.ts'

t.setTimeout(300_000)

/** The status of one request, and the cache's outcome. */
function send (url: string, agent: Agent): Promise<{ status: number, isHit: boolean }> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (reply) => {
      reply.resume()
      reply.once('end', () => resolve({ status: reply.statusCode ?? 0, isHit: String(reply.headers['cache-status']).includes('hit') }))
    }).once('error', reject)
  })
}

/** Concurrent requests from 60 connections. */
async function flood (services: readonly Service[], count: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 60 / services.length })
  const responses = await Promise.all(Array.from({ length: count }, (_, index) => send(`${services[index % services.length]?.url}/cities/2988507`, agent)))
  agent.destroy()
  return responses
}

t.test('two processes of the service allow exactly one quota, cached responses included', async (t) => {
  const environment = { REDIS_URL: (await startRedis(t)).url, DATABASE_PATH: testDatabase(t) }
  const services = await Promise.all([startService(t, environment), startService(t, environment)])

  const responses = await flood(services, 1600)

  const passed = responses.filter(({ status }) => status === 200)
  t.equal(passed.length, 1000)
  t.equal(responses.filter(({ status }) => status === 429).length, 600)
  t.ok(passed.filter(({ isHit }) => isHit).length > 500, 'most of them from the cache')
})
