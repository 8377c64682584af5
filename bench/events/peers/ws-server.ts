import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import { followCommands } from '../commands.ts'
import type { NewEvent } from '../../../plugins/events.ts'

const heartbeatMs = 25_000

/** The sockets of each topic. */
export type Rooms = Map<string, Set<WebSocket>>

/** A WebSocket server as the documentation of ws writes it, with its heartbeat. The client names its topic in the URL. */
export async function serveRooms (join: (topic: string) => Promise<unknown>, publish: (topic: string, event: NewEvent) => unknown): Promise<Rooms> {
  const rooms: Rooms = new Map()
  const alive = new WeakSet<WebSocket>()
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, request) => {
    const topic = new URL(request.url ?? '', 'http://localhost').searchParams.get('topic') ?? ''
    let room = rooms.get(topic)
    if (room === undefined) rooms.set(topic, room = new Set())
    room.add(socket)
    alive.add(socket)
    socket.on('pong', () => alive.add(socket))
    socket.on('error', () => socket.terminate())
    socket.on('close', () => room.delete(socket))
    join(topic).then(() => socket.send('subscribed'))
  })
  setInterval(() => {
    for (const socket of sockets.clients) {
      if (!alive.delete(socket)) socket.terminate()
      else socket.ping()
    }
  }, heartbeatMs)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  followCommands((server.address() as AddressInfo).port, publish)
  return rooms
}

/** Sends one buffer to all sockets of a topic. */
export function broadcast (room: Set<WebSocket> | undefined, message: Buffer): void {
  if (room !== undefined) for (const socket of room) socket.send(message, { binary: false })
}
