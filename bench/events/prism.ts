import Fastify from 'fastify'
import events from '../../plugins/events.ts'
import live from '../../plugins/live.ts'
import redis from '../../plugins/redis.ts'
import session from '../../plugins/standalone/session.ts'
import { followCommands } from './commands.ts'

// The event bus with live connections: WebSockets and event streams.
const app = Fastify()
await app.register(redis, { url: process.env.REDIS_URL })
await app.register(session, { secrets: ['a secret of at least thirty-two characters'] })
await app.register(events)
await app.register(live, { topics: { events: 'anyone', 'client:*': 'anyone' }, connectionsPerAddress: 10_000 })
await app.listen({ port: 0, host: '127.0.0.1' })

const [address] = app.addresses() as { port: number }[]
followCommands(address?.port ?? 0, (topic, event) => app.events.publish(topic, event))
