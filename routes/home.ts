import type { FastifyInstance } from 'fastify'

const methods = ['get', 'put', 'post', 'patch', 'delete'] as const

/** The service's name, and one line per route. */
export default async function home (app: FastifyInstance): Promise<void> {
  app.get('/', {
    schema: {
      summary: 'This list',
      tags: ['service'],
      response: {
        200: {
          type: 'object',
          properties: {
            name: { type: 'string' },
            documentation: { type: 'string' },
            routes: { type: 'object', additionalProperties: { type: 'string' } }
          }
        }
      }
    }
  }, async () => ({ name: 'fastify-prism atlas', documentation: '/openapi.json', routes: lines(app) }))

  app.get('/openapi.json', {
    schema: { summary: 'This service as an OpenAPI 3.1 document', tags: ['service'] }
  }, async () => app.swagger())
}

function lines (app: FastifyInstance): Record<string, string> {
  const described = Object.entries(app.swagger().paths ?? {}).flatMap(([path, item]) => methods.flatMap((method) => {
    const summary = item?.[method]?.summary
    return summary === undefined ? [] : [[`${method.toUpperCase()} ${path}`, summary]]
  }))
  return Object.fromEntries(described)
}
