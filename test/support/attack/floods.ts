import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { HttpClient } from './http-client.ts'
import { leftOpen } from './target.ts'
import type { Target } from './target.ts'

const chunkBytes = 63_000

/** Many connections, each with one large chunk of pipelined requests whose responses are never read. */
export async function floodPipelined (target: Target): Promise<void> {
  for (const path of ['/cities/2988507', '/nothing', '/healthz/live', '/%zz', '/cities?q=paris&limit=3']) {
    for (const connections of [60, 200]) {
      await withSockets(target, connections, async (sockets) => {
        const chunk = requests(path, Math.floor(chunkBytes / requests(path, 1).length))
        for (const socket of sockets) socket.pause().write(chunk)
        await settleBeside(target, `pipelining of ${path}, ${connections} connections`, connections)
      })
      if (target.hasEnded) return
    }
  }
}

/** Fewer requests per connection than any limit, and large responses: connections with unread data are closed after their time limit. */
export async function floodUnread (target: Target): Promise<void> {
  await withSockets(target, 60, async (sockets) => {
    for (const socket of sockets) socket.pause().write(requests('/openapi.json', 60))
    await settleBeside(target, 'unread responses, 60 connections', 60)
  })
}

/** During a flood, a client that reads gets its responses. Responses that fit into the kernel's buffers leave a connection idle, which ends after 72 s. */
async function settleBeside (target: Target, attack: string, client: number): Promise<void> {
  const reader = new HttpClient(target.service.port)
  const { status, ms } = await reader.exchange(requests('/cities/2988507', 1, 60_000 + client))
  reader.close()
  if (status !== 200 && !target.hasEnded) target.fault(`${attack}: another client receives ${status} after ${Math.round(ms)} ms`)
  target.note(`${attack}: another client waited ${Math.round(ms)} ms`)
  await target.settle(attack, 120_000)
}

const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'

/** Upgrades that are rejected for different reasons; the client closes nothing. */
const refusals: Readonly<Record<string, (port: number, client: number) => string>> = {
  'an opaque origin': (_port, client) => upgradeRequest({ client }),
  'no host': (_port, client) => upgradeRequest({ host: '', client }),
  'two hosts': (_port, client) => upgradeRequest({ host: 'Host: a\r\nHost: b\r\n', client }),
  'an expectation': (_port, client) => upgradeRequest({ fields: 'Expect: something\r\n', client }),
  'cookies that are too large': (_port, client) => upgradeRequest({ fields: `Cookie: a=${'x'.repeat(9000)}\r\n`, client }),
  'another version': (port, client) => upgradeRequest({ origin: `http://127.0.0.1:${port}`, client }).replace('Version: 13', 'Version: 7'),
  'no key': (port, client) => upgradeRequest({ origin: `http://127.0.0.1:${port}`, client }).replace(/Sec-WebSocket-Key: [^\r]*\r\n/, ''),
  'behind another request': (port, client) => requests('/cities/2988507', 1, client) + upgradeRequest({ origin: `http://127.0.0.1:${port}`, client }),
  'a quota that is used up': () => upgradeRequest({ client: 1 }),
  'a path with a percent sign': (_port, client) => upgradeRequest({ path: '/live?%zz', client })
}

function upgradeRequest ({ path = '/live', host = 'Host: 127.0.0.1\r\n', origin = 'null', fields = '', client = 0 }): string {
  return `GET ${path} HTTP/1.1\r\n${host}${origin === '' ? '' : `Origin: ${origin}\r\n`}${forwardedFor(client)}${upgrade}Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${fields}\r\n`
}

/** 200 upgrades for each reason of rejection; 1,500 from one address with a quota of 1,000 a minute. */
export async function floodUpgrades (target: Target): Promise<void> {
  for (const [reason, requestOf] of Object.entries(refusals)) {
    if (target.hasEnded) return
    const rounds = reason === 'a quota that is used up' ? 8 : 1
    for (let round = 0; round < rounds && !target.hasEnded; round++) {
      const attack = `upgrades with ${reason}${rounds > 1 ? ` (${round + 1} of ${rounds})` : ''}`
      await withSockets(target, 200, async (sockets) => {
        for (const [index, socket] of sockets.entries()) socket.resume().write(requestOf(target.service.port, 1000 + index))
        const left = await leftOpen(sockets, 15_000)
        if (left > 0 && !target.hasEnded) target.fault(`${attack}: ${left} of 200 connections are still open after 15 s`)
        await target.settle(attack, 5_000)
      })
    }
  }
}

/** `client` gets its own address, as a proxy would set it. */
function requests (path: string, count: number, client = 0): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n${client === 0 ? '' : forwardedFor(client)}\r\n`.repeat(count)
}

function forwardedFor (client: number): string {
  return `X-Forwarded-For: 10.100.${client >> 8 & 255}.${client & 255}\r\n`
}

/** Opens connections, and closes them after the attack was judged. */
async function withSockets (target: Target, count: number, attack: (sockets: Socket[]) => Promise<void>): Promise<void> {
  target.mark()
  const sockets = Array.from({ length: count }, () => connect(target.service.port, '127.0.0.1').on('error', () => {}))
  try {
    await attack(sockets)
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}
