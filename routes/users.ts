import type { FastifyInstance } from 'fastify'

// No names that look alike: no invisible characters, no double spaces, no space at the end.
const visible = '(?!.*(?:\\p{Default_Ignorable_Code_Point}| {2}| $))'

const body = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'password'],
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 40, pattern: `^${visible}[\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N}._' -]*$` },
    password: { type: 'string', minLength: 8, maxLength: 200 }
  }
}

/** Sign-up. */
export default async function users (app: FastifyInstance): Promise<void> {
  app.post<{ Body: { name: string, password: string } }>('', {
    config: { session: false, rateLimit: { quota: 30, group: 'writes', failureMode: 'closed' } },
    schema: {
      summary: 'Become a user, to sign in with name and password',
      tags: ['people'],
      body,
      response: { 201: { type: 'object', properties: { name: { type: 'string' } } } }
    }
  }, async (request, reply) => {
    const { name } = await app.atlas.users.create(request.body.name, request.body.password)
    return reply.code(201).send({ name })
  })
}
