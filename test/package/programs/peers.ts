import Fastify from 'fastify'
import prism from 'fastify-prism'
import live from 'fastify-prism/live'
import metrics from 'fastify-prism/metrics'

const session = { secrets: [process.env.SESSION_SECRET ?? ''] }
const failures: unknown[] = []

async function start (plugin: typeof live | undefined, redis: 'memory' | { url: string | undefined }): Promise<void> {
  const app = Fastify()
  try {
    await app.register(prism, { redis, session })
    if (plugin !== undefined) await app.register(async (scope) => { await scope.register(plugin) })
    await app.ready()
  } catch (error) {
    const { code, message } = error as Error & { code: string }
    failures.push([code, message])
  }
  await app.close().catch(() => {}) // its start has failed
}

for (const plugin of [live, metrics as typeof live]) await start(plugin, { url: process.env.REDIS_URL })
await start(undefined, 'memory')
console.log(JSON.stringify(failures))
