import type { FastifyInstance } from 'fastify'

const id = { type: 'string', minLength: 1, maxLength: 64, pattern: '^[\\w-]+$' }
const at = { type: 'integer', description: 'Milliseconds since 1970' }
const device = { type: 'object', properties: { id: { type: 'string' }, label: { type: 'string' }, isCurrent: { type: 'boolean' }, createdAt: at, seenAt: at, endsAt: at } }
const gone = { 204: { type: 'null' } }

/** The devices on which a user is signed in. */
export default async function devices (app: FastifyInstance): Promise<void> {
  app.get('', {
    schema: {
      summary: 'The devices where you are signed in',
      tags: ['people'],
      response: { 200: { type: 'object', properties: { devices: { type: 'array', items: device } } } }
    }
  }, async (request) => ({ devices: await request.session.devices() }))

  app.delete<{ Params: { id: string } }>('/:id', {
    config: { rateLimit: { quota: 30, group: 'writes' } },
    schema: {
      summary: 'Sign out one of your devices',
      tags: ['people'],
      params: { type: 'object', properties: { id }, required: ['id'], additionalProperties: false },
      response: gone
    }
  }, async (request, reply) => {
    await request.session.revoke(request.params.id)
    return reply.code(204).send()
  })

  app.delete('', {
    config: { rateLimit: { quota: 30, group: 'writes' } },
    schema: { summary: 'Sign out all your devices but this one', tags: ['people'], response: gone }
  }, async (request, reply) => {
    await request.session.revokeOthers()
    return reply.code(204).send()
  })
}
