import { createAdapter as pubSub } from '@socket.io/redis-adapter'
import { createAdapter as streams } from '@socket.io/redis-streams-adapter'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import { Server } from 'socket.io'
import { followCommands } from '../commands.ts'

// socket.io with one of its Redis adapters; a topic is a room.
const client = new Redis(process.env.REDIS_URL ?? '')
const adapter = process.env.ADAPTER === 'streams' ? streams(client) : pubSub(client, client.duplicate())
const server = createServer()
const io = new Server(server, { adapter, transports: ['websocket'] })
io.on('connection', (socket) => {
  socket.join(String(socket.handshake.query.topic))
  socket.emit('subscribed')
})

await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
followCommands((server.address() as AddressInfo).port, (topic, event) => io.to(topic).emit('event', event))
