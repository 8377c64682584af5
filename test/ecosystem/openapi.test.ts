import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { assertNeighbour } from './support/neighbour.ts'

await assertNeighbour({
  packages: ['@fastify/swagger', '@fastify/swagger-ui'],
  after: async (app) => {
    await app.register(swagger, { openapi: { info: { title: 'cities', version: '1' } } })
    await app.register(swaggerUi, { routePrefix: '/docs' })
  },
  features: {
    'the document lists the routes, and the page and its files are served': async ({ t, client }) => {
      const { body } = await client.get('/docs/json')
      t.ok(body.paths['/page/{id}'].get)
      t.match((await client.get('/docs/')).text, '<title>Swagger UI')
      t.equal((await client.get('/docs/static/swagger-ui.css')).status, 200)
    }
  }
})
