import { createRequire } from 'node:module'
import { sessionAdapter } from '../../plugins/standalone/session.ts'
import { Client } from './support/client.ts'
import { assertNeighbour } from './support/neighbour.ts'
import type { AppParts } from './support/app.ts'

// Its types declare `request.session` as @fastify/secure-session has it.
const { Authenticator, Strategy } = createRequire(import.meta.url)('@fastify/passport')

class ByName extends Strategy {
  authenticate (request: any): void {
    if (request.query.name === undefined) this.fail('a name is needed', 401)
    else this.success({ name: request.query.name })
  }
}

function parts (options: object): Required<Pick<AppParts, 'after'>> {
  return {
    after: async (app: any) => {
      const passport = new Authenticator(options)
      passport.use('name', new (ByName as any)('name'))
      passport.registerUserSerializer(async (user: { name: string }) => user.name)
      passport.registerUserDeserializer(async (name: string) => ({ name }))
      await app.register(passport.initialize())
      await app.register(passport.secureSession())
      app.post('/login', { preValidation: passport.authenticate('name') }, async () => ({}))
      app.post('/logout', async (request: any) => {
        await request.logOut()
        return {}
      })
      app.post('/leave', async (request: any) => {
        request.session.delete('passport')
        return {}
      })
      app.get('/user', { config: { cache: { ttl: '5m' } } }, async (request: any) => ({ user: request.user?.name ?? null }))
      app.get('/user-cached', { config: { cache: { ttl: '5m', partition: (request: any) => request.user?.name ?? 'guest' } } }, async (request: any) => ({ user: request.user?.name ?? null }))
    }
  }
}

await assertNeighbour({
  packages: ['@fastify/passport'],
  order: 'after the stack, with `clearSessionOnLogin: false`',
  ...parts({ clearSessionOnLogin: false }),
  without: { silence: { why: 'it needs `sessionAdapter`', told: /registered without sessionAdapter/ } },
  features: {
    'a login is in our session, and no response is shared between users': async ({ t, client, url }) => {
      const [ada, bob] = [new Client({ url }), new Client({ url })]
      t.equal((await ada.post('/login?name=ada')).status, 200)
      t.equal((await bob.post('/login?name=bob')).status, 200)
      t.equal((await client.post('/login')).status, 401)
      for (const path of ['/user', '/user-cached']) {
        for (const [caller, user] of [[ada, 'ada'], [ada, 'ada'], [bob, 'bob'], [client, null]] as const) t.same((await caller.get(path)).body, { user }, path)
      }
      const refused = await ada.post('/logout')
      t.same([refused.status, refused.body.code], [500, 'PRISM_ERR_SESSION_VALUE'], 'logOut() is refused, not ignored')
      await ada.post('/leave')
      t.same((await ada.get('/user')).body, { user: null })
    }
  },
  exceptions: [{ what: '`request.logOut()`', why: 'it sets a session key to `undefined`, which causes a 500 with PRISM_ERR_SESSION_VALUE; call `request.session.delete(\'passport\')` or `signOut()`, or register `sessionAdapter`' }]
})

await assertNeighbour({
  packages: ['@fastify/passport'],
  order: 'after the stack, with its default `clearSessionOnLogin: true`',
  ...parts({}),
  without: { silence: { why: 'it needs `sessionAdapter`', told: /registered without sessionAdapter/ } },
  features: {
    'a login is refused with an error, not half done': async ({ t, client }) => {
      t.equal((await client.post('/login?name=ada')).status, 500)
      t.same((await client.get('/user')).body, { user: null })
    }
  },
  exceptions: [{ what: 'a login', why: 'it uses `regenerate` or `data` of the session, which ours does not have, and causes a 500; register `sessionAdapter`, or use `clearSessionOnLogin: false` and `session.rotate()` after the login' }]
})

const adapted = parts({})

await assertNeighbour({
  packages: ['@fastify/passport'],
  order: 'after the stack and `sessionAdapter`, with its default `clearSessionOnLogin: true`',
  after: async (app: any) => {
    await app.register(sessionAdapter)
    await adapted.after(app)
    app.put('/theme/:name', async (request: any) => {
      request.session.theme = request.params.name
      return {}
    })
    app.delete('/theme', async (request: any) => {
      delete request.session.theme
      return {}
    })
    app.get('/session', async ({ session }: any) => ({ theme: session.theme ?? null, keys: Object.keys(session).sort(), hasUser: 'passport' in session }))
    app.post('/regenerate', async ({ session }: any) => {
      await session.regenerate(['theme'])
      return {}
    })
    app.post('/destroy', async ({ session }: any) => {
      await session.destroy()
      return {}
    })
  },
  features: {
    'a login begins a new session, `logOut()` ends it, and no response is shared': async ({ t, client, url }) => {
      const [ada, bob] = [new Client({ url }), new Client({ url })]
      for (const user of [ada, bob]) await user.put('/theme/dark')
      const { cookie } = ada
      t.equal((await ada.post('/login?name=ada')).status, 200)
      t.equal((await bob.post('/login?name=bob')).status, 200)
      t.equal((await client.post('/login')).status, 401)
      t.not(ada.cookie, cookie, 'the login has another session ID')
      t.same((await client.get('/session', { headers: { cookie } })).body, { theme: null, keys: [], hasUser: false }, 'the old one has ended')
      for (const path of ['/user', '/user-cached']) {
        for (const [caller, user] of [[ada, 'ada'], [ada, 'ada'], [bob, 'bob'], [client, null]] as const) t.same((await caller.get(path)).body, { user }, path)
      }
      const before = ada.cookie
      t.equal((await ada.post('/logout')).status, 200)
      for (const headers of [undefined, { cookie: before }]) t.same((await ada.get('/user', { headers })).body, { user: null })
      t.same((await bob.get('/user')).body, { user: 'bob' })
    },
    '`request.session[key]`, `regenerate()` and `destroy()` read and write our session': async ({ t, client }) => {
      const sees = async (expected: object) => { t.same((await client.get('/session')).body, expected) }
      await client.put('/theme/dark')
      await sees({ theme: 'dark', keys: ['theme'], hasUser: false })
      await client.post('/login?name=ada')
      await sees({ theme: null, keys: ['passport'], hasUser: true })
      await client.put('/theme/light')
      await client.post('/regenerate')
      await sees({ theme: 'light', keys: ['theme'], hasUser: false })
      await client.get('/theme', { method: 'DELETE' })
      await sees({ theme: null, keys: [], hasUser: false })
      await client.put('/theme/dark')
      const { cookie } = client
      t.equal((await client.post('/destroy')).status, 200)
      for (const headers of [undefined, { cookie }]) t.same((await client.get('/session', { headers })).body, { theme: null, keys: [], hasUser: false })
    }
  }
})
