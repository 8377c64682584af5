import oauth2 from '@fastify/oauth2'
import Fastify from 'fastify'
import t from 'tap'
import { Client } from './support/client.ts'
import { assertNeighbour } from './support/neighbour.ts'

const provider = Fastify()
provider.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => { done(null, new URLSearchParams(String(body))) })
provider.post<{ Body: URLSearchParams }>('/token', async ({ body }) => ({ access_token: `token of ${body.get('code')}`, token_type: 'bearer', expires_in: 60 }))
const address = await provider.listen({ port: 0, host: '127.0.0.1' })
t.teardown(() => provider.close())

await assertNeighbour({
  packages: ['@fastify/oauth2'],
  after: (app) => {
    app.register(oauth2, {
      name: 'provider',
      credentials: { client: { id: 'id', secret: 'secret' }, auth: { tokenHost: address, tokenPath: '/token', authorizePath: '/authorize' } },
      startRedirectPath: '/login',
      callbackUri: 'http://127.0.0.1/callback'
    } as any)
    app.get('/callback', async (request, reply) => {
      const { token } = await (app as any).provider.getAccessTokenFromAuthorizationCodeFlow(request, reply)
      await request.session.signIn(token.access_token)
      return {}
    })
  },
  features: {
    'a user comes back from the provider signed in, and only with the state of its own login': async ({ t, client, url }) => {
      const login = await client.get('/login')
      t.equal(login.status, 302)
      const state = new URL(login.headers.get('location') ?? '').searchParams.get('state') ?? ''
      t.equal((await new Client({ url }).get(`/callback?code=1&state=${encodeURIComponent(state)}`)).status, 500, 'the state of another client')
      t.equal((await client.get(`/callback?code=1&state=${encodeURIComponent(state)}`)).status, 200)
      t.equal((await client.get('/mine')).body.user, 'token of 1')
    }
  }
})
