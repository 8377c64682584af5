import fastify from 'fastify'
import prism from '../plugins/index.ts'
import { resolveRedisPolicy } from '../src/redis/options.ts'
import { PooledRedis } from '../src/redis/client.ts'
import { Script } from '../src/redis/batch/script.ts'
import type { Owner } from '../test/support/cleanup-scope.ts'
import { until } from '../test/support/until.ts'

/** A caller of Redis. */
export interface Target {
  /** one call; rejects if Redis had no part in its response */
  call (): Promise<unknown>
  /** resolves when calls succeed and are compiled */
  warmUp (): Promise<unknown>
}

const count = new Script({ url: new URL('./count.lua', import.meta.url), costMicroseconds: 5, read: Number })
const lifetimeMs = 60_000
const warmUpCalls = 300

/** Calls the pool as requests do: one read and one script. */
export async function poolTarget (owner: Owner, url: string): Promise<Target> {
  const pool = new PooledRedis(resolveRedisPolicy({ url }))
  owner.after(() => pool.disconnect())
  await pool.start(5000)
  return warm(() => Promise.all([pool.batch.get('entry'), pool.batch.runScript(count, ['count'], [lifetimeMs])]))
}

/** Requests a cached, limited route with a session from a whole app. */
export async function appTarget (owner: Owner, url: string): Promise<Target> {
  const app = fastify({ logger: false })
  owner.after(() => app.close())
  await app.register(prism, { redis: { url }, session: { secrets: ['a secret of the bench: 32 or more'] }, rateLimit: { quota: 1_000_000, window: '1m' } })
  app.post('/session', (request) => {
    request.session.set('test-seen', true)
    return {}
  })
  app.get('/page', { config: { cache: { ttl: '5m', tags: ['pages'] } } }, () => ({ text: 'x'.repeat(1000) }))
  await app.ready()
  const { headers } = await app.inject({ method: 'POST', url: '/session' })
  const cookie = String(headers['set-cookie']).split(';')[0] ?? ''
  return warm(async () => {
    const response = await app.inject({ url: '/page', headers: { cookie } })
    if (response.statusCode !== 200 || /bypass/.test(String(response.headers['cache-status']))) throw new Error(`${response.statusCode} ${response.headers['cache-status']}`)
  })
}

function warm (call: () => Promise<unknown>): Target {
  return {
    call,
    warmUp: async () => {
      await until(() => call().then(() => true), { what: 'a first response' })
      // On a busy machine one of them can time out.
      for (let calls = 0; calls < warmUpCalls; calls++) await call().catch(() => {})
    }
  }
}
