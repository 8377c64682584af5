import { Queue, QueueEvents, Worker } from 'bullmq'
import { assertNeighbour } from './support/neighbour.ts'
import { redisUrl } from './support/app.ts'

await assertNeighbour({
  packages: ['bullmq'],
  order: 'beside the stack, with connections of its own to the same Redis',
  features: {
    'a job purges a cached response, and both close': async ({ t, app, client }) => {
      const { hostname: host, port } = new URL(redisUrl)
      const options = { connection: { host, port: Number(port), maxRetriesPerRequest: null, skipVersionCheck: true }, prefix: `bull-${process.pid}` }
      const queue = new Queue('purges', options)
      const events = new QueueEvents('purges', options)
      const worker = new Worker('purges', async ({ data }) => { await app.cache.purge(data.tag) }, options)
      t.teardown(async () => { await Promise.all([worker.close(), events.close(), queue.close()]) })
      await client.get('/tagged')
      const first = await client.hit('/tagged')
      await events.waitUntilReady()
      const job = await queue.add('purge', { tag: 'tagged' })
      await job.waitUntilFinished(events)
      const second = await client.get('/tagged')
      t.same([first.body.run, second.body.run], [1, 2])
    }
  },
  after: (app) => {
    let runs = 0
    app.get('/tagged', { config: { cache: { ttl: '5m', tags: ['tagged'] } } }, async () => ({ run: ++runs }))
  }
})
