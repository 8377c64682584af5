import { Authenticator, Strategy } from '@fastify/passport'
import Fastify from 'fastify'
import prism from 'fastify-prism'
import { sessionAdapter } from 'fastify-prism/session'

const passwords = new Map([['ada', 'countess'], ['bob', 'builder']]) // yours are hashed, and in a database

class ByPassword extends Strategy {
  authenticate ({ body }) {
    if (body?.name && passwords.get(body.name) === body.password) this.success({ id: body.name })
    else this.fail(401)
  }
}

const app = Fastify()
const passport = new Authenticator()
passport.use('password', new ByPassword('password'))
passport.registerUserSerializer(async (user) => user.id)
passport.registerUserDeserializer(async (id) => ({ id }))

await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'passport:' }, session: { secrets: [process.env.SESSION_SECRET] } })
await app.register(sessionAdapter) // the session as passport expects it
await app.register(passport.initialize())
await app.register(passport.secureSession())

app.post('/sign-in', { config: { rateLimit: { quota: 5 } }, preValidation: passport.authenticate('password') }, async (request) => {
  await request.session.signIn(request.user.id, { keep: ['passport'] }) // for session: 'required', devices and revocations
  return { user: request.user.id }
})

app.post('/sign-out', async (request) => {
  await request.logOut()
  return {}
})

app.get('/account', { config: { session: 'required', cache: { ttl: '1m', partition: 'user' } } }, async (request) => ({ user: request.user.id }))

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
