import Fastify from 'fastify'
import prism from 'fastify-prism'
import live from 'fastify-prism/live'
import metrics from 'fastify-prism/metrics'

const failures: unknown[] = []
for (const plugin of [live, metrics]) {
  const app = Fastify()
  await app.register(prism, { redis: { url: process.env.REDIS_URL }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
  try {
    await app.register(async (scope) => { await scope.register(plugin as typeof live) })
    await app.ready()
  } catch (error) {
    const { code, message } = error as Error & { code: string }
    failures.push([code, message])
  }
  await app.close().catch(() => {}) // its start has failed
}
console.log(JSON.stringify(failures))
