import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import type { RawData } from 'ws'
import { topicOf } from './commands.ts'

// A process that holds the clients of all servers. It counts deliveries and their delay since the publish.

/** How a client talks: the stack's WebSocket, a plain WebSocket, socket.io's protocol, an event stream. */
export type Protocol = 'prism' | 'ws' | 'socket.io' | 'sse'

/** What the bench tells the clients. */
export type ClientCommand =
  | { readonly do: 'connect', readonly server: string, readonly protocol: Protocol, readonly ports: readonly number[], readonly topics: number, readonly from: number, readonly to: number }
  | { readonly do: 'expect', readonly server: string, readonly deliveries: number }

/** Deliveries to the clients of one server, and their median and 99th percentile delay. */
export interface Deliveries { readonly count: number, readonly p50Ms: number, readonly p99Ms: number }

const patienceMs = 4000
const delays = new Map<string, number[]>()
const stampPattern = /"t":(\d+\.?\d*)/g
const nowMs = () => Number(process.hrtime.bigint()) / 1e6

process.on('message', async (command: ClientCommand) => {
  process.send?.(command.do === 'connect' ? await connectAll(command) : await expectDeliveries(command))
})
process.on('disconnect', () => process.exit())

async function connectAll ({ server, protocol, ports, topics, from, to }: ClientCommand & { do: 'connect' }): Promise<number> {
  const seen = delays.get(server) ?? []
  delays.set(server, seen)
  const open = protocol === 'sse' ? openStream : openWebSocket
  for (let index = from; index < to; index++) await open(ports[index % ports.length] ?? 0, topicOf(index, topics), seen, protocol)
  return to - from
}

async function expectDeliveries ({ server, deliveries }: ClientCommand & { do: 'expect' }): Promise<Deliveries> {
  const seen = delays.get(server) ?? []
  const endsAt = performance.now() + patienceMs
  while (seen.length < deliveries && performance.now() < endsAt) await new Promise((resolve) => setTimeout(resolve, 2))
  const sorted = Float64Array.from(seen.splice(0)).sort()
  return { count: sorted.length, p50Ms: sorted[sorted.length >> 1] ?? NaN, p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? NaN }
}

function record (text: string, seen: number[]): void {
  const at = nowMs()
  for (const [, stamp] of text.matchAll(stampPattern)) seen.push(at - Number(stamp))
}

const paths: Readonly<Record<Exclude<Protocol, 'sse'>, (topic: string) => string>> = {
  prism: () => '/live',
  ws: (topic) => `/?topic=${topic}`,
  'socket.io': (topic) => `/socket.io/?EIO=4&transport=websocket&topic=${topic}`
}

function openWebSocket (port: number, topic: string, seen: number[], protocol: Protocol): Promise<void> {
  if (protocol === 'sse') throw new Error('not a WebSocket')
  const socket = new WebSocket(`ws://127.0.0.1:${port}${paths[protocol](topic)}`, { perMessageDeflate: false, skipUTF8Validation: true })
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('open', () => { if (protocol === 'prism') socket.send(JSON.stringify({ type: 'subscribe', topic })) })
    socket.on('message', (data: RawData) => {
      const text = data.toString()
      // Engine.IO: 0 opens, 2 is a ping; Socket.IO: 40 connects.
      if (protocol === 'socket.io' && text.startsWith('0')) return socket.send('40')
      if (protocol === 'socket.io' && text === '2') return socket.send('3')
      if (text.includes('"t":')) return record(text, seen)
      if (text.includes('subscribed')) resolve()
    })
  })
}

/** Reads an event stream as it comes; an event that is split over two reads is put together. */
function openStream (port: number, topic: string, seen: number[]): Promise<void> {
  const socket: Socket = connect(port, '127.0.0.1')
  socket.setEncoding('latin1')
  socket.write(`GET /events?topic=${encodeURIComponent(topic)} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\n\r\n`)
  return new Promise((resolve, reject) => {
    let rest = ''
    socket.on('error', reject)
    socket.on('data', (chunk: string) => {
      const text = rest + chunk
      const end = text.lastIndexOf('\n\n') + 2
      rest = text.slice(end)
      if (/(?:^|\n)(?:event: subscribed|id: \S*)\n/.test(text)) resolve()
      record(text.slice(0, end), seen)
    })
  })
}
