import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { deflateRawSync } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { openLive, startLive, statusOfUpgrade } from '../support/live.ts'
import type { LiveApp } from '../support/live.ts'
import { startService } from '../support/service.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

/** An upgraded socket, to send bytes that no WebSocket client sends. */
async function upgradedSocket (t: Test, { port, url }: LiveApp, extensions = ''): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // the close event reports it
  socket.write(`GET /live HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nOrigin: ${url}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${extensions}\r\n`)
  const [head] = await once(socket, 'data')
  if (!String(head).startsWith('HTTP/1.1 101')) throw new Error(String(head))
  if (/sec-websocket-extensions/i.test(String(head))) throw new Error('an extension was negotiated')
  return socket
}

/** A masked client frame; `first` is its first byte: FIN, RSV and opcode. */
function frame (first: number, payload: Buffer): Buffer {
  const length = payload.length < 126 ? Buffer.from([0x80 | payload.length]) : payload.length < 65_536 ? Buffer.from([0xfe, payload.length >> 8, payload.length & 255]) : Buffer.concat([Buffer.from([0xff, 0, 0, 0, 0]), u32(payload.length)])
  return Buffer.concat([Buffer.from([first]), length, Buffer.alloc(4), payload])
}

function u32 (number: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(number)
  return bytes
}

/** The close code that a socket receives, or 1006 if it is closed without one. */
async function closeCodeOf (socket: Socket): Promise<number> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await closed(socket)
  const bytes = Buffer.concat(chunks)
  const at = bytes.indexOf(0x88)
  return at >= 0 && (bytes[at + 1] ?? 0) >= 2 ? bytes.readUInt16BE(at + 2) : 1006
}

async function closed (socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve))
}

async function stillServes (live: LiveApp): Promise<boolean> {
  const client = await openLive(live)
  client.say({ type: 'ping' })
  await client.next('pong')
  client.socket.terminate()
  return true
}

t.setTimeout(300_000)

t.test('live connections withstand malformed and excessive frames', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const bomb = deflateRawSync(Buffer.alloc(256 * 1024 * 1024), { level: 9 })
  const attacks: Record<string, { bytes: Buffer, code: number, extensions?: string }> = {
    'a deflate bomb of 256 MB, compression not negotiated': { bytes: frame(0xc1, bomb.subarray(0, 16_000)), code: 1002, extensions: 'Sec-WebSocket-Extensions: permessage-deflate\r\n' },
    '20,000 empty fragments': { bytes: Buffer.concat([frame(0x01, Buffer.alloc(0)), ...Array<Buffer>(20_000).fill(frame(0x00, Buffer.alloc(0)))]), code: 1008 },
    'a frame of more than 16 KiB': { bytes: frame(0x81, Buffer.alloc(20_000, 'x')), code: 1009 },
    'a frame that announces 4 GB': { bytes: Buffer.concat([Buffer.from([0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0])]), code: 1009 },
    'a frame without a mask': { bytes: Buffer.from([0x81, 0x02, 0x68, 0x69]), code: 1002 },
    'text that is no UTF-8': { bytes: frame(0x81, Buffer.from([0xff, 0xfe])), code: 1007 },
    'a binary frame': { bytes: frame(0x82, Buffer.from('{}')), code: 1003 },
    'a continuation of nothing': { bytes: frame(0x80, Buffer.from('x')), code: 1002 },
    'a flood of pings, without reading the pongs': { bytes: Buffer.concat(Array<Buffer>(500).fill(frame(0x89, Buffer.alloc(0)))), code: 1006 },
    'a flood of frames': { bytes: Buffer.concat(Array<Buffer>(500).fill(frame(0x81, Buffer.from('{"type":"ping"}')))), code: 4029 },
    'a flood of invalid JSON': { bytes: Buffer.concat(Array<Buffer>(500).fill(frame(0x81, Buffer.from('[[[[')))), code: 4029 }
  }

  for (const [what, { bytes, code, extensions }] of Object.entries(attacks)) {
    const socket = await upgradedSocket(t, live, extensions)
    socket.write(bytes)
    t.equal(await closeCodeOf(socket), code, what)
  }
  t.ok(await stillServes(live))
  await until(() => live.app.live.counts.websocket === 0, { what: 'all are closed' })
})

t.test('live connections that send half a frame and then nothing are closed within two heartbeats', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url, { heartbeat: '1s' })
  const socket = await upgradedSocket(t, live)
  socket.write(Buffer.from([0x81, 0xfe]))
  await until(() => live.app.live.counts.websocket === 1, { what: 'the connection is open' })

  t.equal(await closeCodeOf(socket), 1006)
  await until(() => live.app.live.counts.websocket === 0, { what: 'the connection is closed' })
})

t.test('an upgrade request that never ends is closed with 408', async (t) => {
  const service = await startService(t)
  const socket = connect(service.port, '127.0.0.1')
  socket.on('error', () => {}) // the close event reports it
  socket.write('GET /live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-')

  let response = ''
  socket.on('data', (chunk) => { response += chunk })
  await closed(socket)

  t.match(response, /^HTTP\/1.1 408 /)
})

t.test('live connections with an invalid handshake occupy no slot', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)

  for (let n = 0; n < 120; n++) {
    const socket = connect(live.port, '127.0.0.1')
    socket.on('error', () => {}) // the close event reports it
    socket.write(`GET /live HTTP/1.1\r\nHost: 127.0.0.1:${live.port}\r\nOrigin: ${live.url}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: short\r\n\r\n`)
    await closed(socket.resume())
  }

  t.equal(await statusOfUpgrade(live, { headers: { origin: live.url } }), 101)
})

t.test('live connections that request much and read nothing are closed', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  for (let n = 0; n < 900; n++) await live.app.events.publish('events', { type: 'n', data: 'x'.repeat(12_000) })
  const begin = await live.app.events.publish('events', { type: 'n' })
  const first = (await live.app.redisPool.xrange('prism:events:log', '-', '+', 'COUNT', 1))[0]?.[0] ?? begin
  const greedy = await openLive(live)
  greedy.socket.pause()

  for (let n = 0; n < 60; n++) greedy.say({ type: 'subscribe', topic: 'events', since: first })
  await until(() => live.app.live.counts.websocket === 0, { what: 'the connection is closed' })

  t.ok(await stillServes(live))
})
