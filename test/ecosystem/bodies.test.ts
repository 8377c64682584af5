import formbody from '@fastify/formbody'
import multipart from '@fastify/multipart'
import { assertNeighbour } from './support/neighbour.ts'
import { digestOf } from './support/app.ts'

await assertNeighbour({
  packages: ['@fastify/multipart'],
  after: async (app) => {
    await app.register(multipart, { limits: { fileSize: 2_000_000 } })
    app.post('/file', { config: { rateLimit: { quota: 10, unit: 'content-bytes', cost: () => 1 } } }, async (request) => {
      const file = await request.file()
      const body = await file?.toBuffer() ?? ''
      request.session.set('note', file?.filename ?? '')
      return { digest: digestOf(body), name: file?.filename }
    })
  },
  features: {
    'a file of 1 MB is uploaded, and the session is saved': async ({ t, client }) => {
      const content = Buffer.alloc(1_000_000, 'file')
      const body = new FormData()
      body.append('file', new Blob([content]), 'a.bin')
      t.same((await client.post('/file', { body })).body, { digest: digestOf(content), name: 'a.bin' })
      t.same((await client.get('/note')).body, { note: 'a.bin' })
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/formbody'],
  after: async (app) => {
    await app.register(formbody)
    app.post<{ Body: { name: string } }>('/form', async ({ body, session }) => {
      await session.signIn(body.name)
      return { name: body.name }
    })
  },
  features: {
    'a form signs a user in': async ({ t, client }) => {
      t.same((await client.post('/form', { body: 'name=ada', headers: { 'content-type': 'application/x-www-form-urlencoded' } })).body, { name: 'ada' })
      t.equal((await client.get('/mine')).body.user, 'ada')
    }
  }
})
