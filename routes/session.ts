import type { FastifyInstance } from 'fastify'

const body = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'password'],
  properties: { name: { type: 'string', minLength: 1, maxLength: 100 }, password: { type: 'string', minLength: 1, maxLength: 200 } }
}
const who = { type: 'object', properties: { name: { type: 'string' }, device: { type: 'string', description: 'This device, as /session/devices lists it' } } }

/** Per account, over all addresses: one attacker can use many. The limit can lock out the owner for at most a minute. */
const attempts = { name: 'sign-in', quota: 10, window: '1m', failureMode: 'closed' } as const

/** Sign in, read the session, sign out. */
export default async function session (app: FastifyInstance): Promise<void> {
  app.post<{ Body: { name: string, password: string } }>('', {
    config: { rateLimit: { quota: 5, failureMode: 'closed' } },
    schema: { summary: 'Sign in', tags: ['people'], body, response: { 200: who } }
  }, async (request) => {
    const { users } = app.atlas
    const { isAllowed, retryMs } = await app.rateLimits.check(`account:${users.accountOf(request.body.name)}`, attempts)
    if (!isAllowed) throw users.attemptsFull(retryMs)
    const user = await users.verify(request.body.name, request.body.password)
    await request.session.signIn(user.id)
    return { name: user.name, device: request.session.id }
  })

  app.get('', {
    config: { session: 'required' },
    schema: { summary: 'Who is signed in', tags: ['people'], response: { 200: who } }
  }, async (request) => ({ name: app.atlas.users.of(request.session).name, device: request.session.id }))

  app.delete('', {
    config: { rateLimit: { quota: 30, group: 'writes' } },
    schema: { summary: 'Sign out', tags: ['people'], response: { 204: { type: 'null' } } }
  }, async (request, reply) => {
    await request.session.signOut()
    return reply.code(204).send()
  })
}
