import type { FastifyInstance } from 'fastify'

const limit = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    quota: { type: 'integer' },
    remaining: { type: 'integer', description: 'Units that are left; missing while it is unknown' },
    resetMs: { type: 'number', description: 'Time until more units are available' }
  }
} as const

/** What is left of a client's quotas. Costs no units, so that it can be polled. */
export default async function budget (app: FastifyInstance): Promise<void> {
  app.get('', {
    config: {
      cache: false,
      session: false,
      rateLimit: [{ cost: 0 }, { quota: 10, window: '10s', group: 'random', cost: 0 }, { quota: 30, group: 'writes', cost: 0 }]
    },
    schema: {
      summary: 'What is left of your quotas; costs nothing',
      tags: ['service'],
      response: { 200: { type: 'object', properties: { limits: { type: 'array', items: limit } } } }
    }
  }, async (request, reply) => {
    reply.header('cache-control', 'no-store')
    return { limits: request.rateLimit }
  })
}
