import Fastify from 'fastify'
import session from 'fastify-prism/session'

const app = Fastify()
await app.register(session, { secrets: [process.env.SESSION_SECRET ?? ''] }).then(() => {}, (error: Error) => console.log(JSON.stringify(error.message)))
