import sse from '@fastify/sse'
import type { SSEReplyInterface } from '@fastify/sse'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { followCommands } from '../commands.ts'

// @fastify/sse and Pub/Sub of ioredis.
const publisher = new Redis(process.env.REDIS_URL ?? '')
const subscriber = new Redis(process.env.REDIS_URL ?? '')
const rooms = new Map<string, Set<SSEReplyInterface>>()
let id = 0
const app = Fastify()
await app.register(sse, { heartbeatInterval: 25_000, serializer: String })

app.get<{ Querystring: { topic: string } }>('/events', { sse: true }, async (request, reply) => {
  const { topic } = request.query
  let room = rooms.get(topic)
  if (room === undefined) rooms.set(topic, room = new Set())
  room.add(reply.sse)
  reply.sse.keepAlive()
  reply.sse.onClose(() => room.delete(reply.sse))
  await subscriber.subscribe(topic)
  await reply.sse.send({ event: 'subscribed', data: '' })
})
subscriber.on('message', (topic: string, message: string) => {
  id += 1
  for (const stream of rooms.get(topic) ?? []) stream.send({ id: String(id), event: 'bench', data: message }).catch(() => {})
})

await app.listen({ port: 0, host: '127.0.0.1' })
const [address] = app.addresses() as { port: number }[]
followCommands(address?.port ?? 0, (topic, event) => publisher.publish(topic, JSON.stringify(event)))
