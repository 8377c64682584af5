import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import prism from 'fastify-prism'
import { until } from './until.ts'

const app = Fastify()
await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'upgrades:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
await app.register(websocket)
app.get('/open', { websocket: true }, (socket) => { socket.send('hello') })
app.get('/required', { websocket: true, config: { session: 'required' } }, (socket) => { socket.send('hello') })
app.get('/slow', async () => await new Promise((resolve) => { setTimeout(resolve, 50, 'slow') }))
await app.listen({ port: 0, host: '127.0.0.1' })
await until(() => app.redisPool.state === 'ready')

const { port } = app.server.address() as AddressInfo
const slow = 'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n'

/** Requests an upgrade behind other requests of the same write, and never closes its own side. */
async function statusesOf (path: string, ahead = ''): Promise<{ statuses: number[], isEnded: boolean }> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {}) // seen by its end
  await once(socket, 'connect')
  socket.write(`${ahead}GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`)
  let text = ''
  socket.on('data', (chunk) => { text += String(chunk) })
  await until(() => socket.readableEnded || text.startsWith('HTTP/1.1 101'))
  const isEnded = socket.readableEnded
  socket.destroy()
  return { statuses: [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status)), isEnded }
}

const accepted = await statusesOf('/open')
const refused = await statusesOf('/required')
const pipelined: boolean[] = []
for (const [path, ahead] of [['/open', slow], ['/required', slow], ['/open', slow + slow], ['/nowhere', slow]] as const) {
  const { statuses, isEnded } = await statusesOf(path, ahead)
  pipelined.push(isEnded && statuses.slice(0, ahead.length / slow.length).every((status) => status === 200) && !statuses.includes(101))
}
let connections = -1
await until(async () => {
  connections = await new Promise((resolve) => { app.server.getConnections((_error, count) => { resolve(count) }) })
  return connections === 0
})
await app.close()
console.log(JSON.stringify({ accepted: accepted.statuses, refused, pipelined, connections }))
