import type { IncomingMessage } from 'node:http'
import fastify from 'fastify'
import t from 'tap'
import { resolveClientAddress, type TrustedProxies } from '../../../src/http/client-address.ts'

/** The client address of a request from `peer` with these fields. */
async function addressOf (proxies: TrustedProxies, peer: string, headers: Record<string, string> = {}): Promise<string> {
  const { trust, prepare } = resolveClientAddress(proxies)
  const app = fastify({ trustProxy: trust, rewriteUrl: (message) => { prepare(message as unknown as IncomingMessage); return message.url ?? '/' } })
  app.get('/', async (request) => ({ ip: request.ip }))
  const reply = await app.inject({ url: '/', remoteAddress: peer, headers })
  await app.close()
  return reply.json<{ ip: string }>().ip
}

const client = '203.0.113.9'

t.test('client address is the address of the socket if no proxy is trusted', async (t) => {
  const headers = { 'x-forwarded-for': client, 'x-real-ip': client }

  t.equal(await addressOf({ kind: 'none' }, '192.0.2.1', headers), '192.0.2.1')
})

t.test('client address is Railway’s X-Real-IP, if the peer is in Railway’s network', async (t) => {
  const headers = { 'x-forwarded-for': '198.51.100.1, 198.51.100.2', 'x-real-ip': client }

  t.equal(await addressOf({ kind: 'railway' }, '100.64.0.3', headers), client)
  t.equal(await addressOf({ kind: 'railway' }, '::ffff:100.127.255.254', headers), client)
  t.equal(await addressOf({ kind: 'railway' }, '100.128.0.1', headers), '100.128.0.1')
  t.equal(await addressOf({ kind: 'railway' }, '192.0.2.1', headers), '192.0.2.1')
})

t.test('client address is the edge’s address if X-Real-IP is missing or invalid', async (t) => {
  t.equal(await addressOf({ kind: 'railway' }, '100.64.0.3', { 'x-forwarded-for': client }), '100.64.0.3')
  t.equal(await addressOf({ kind: 'railway' }, '100.64.0.3', { 'x-real-ip': 'localhost' }), '100.64.0.3')
  t.equal(await addressOf({ kind: 'railway' }, '100.64.0.3', { 'x-real-ip': `${client}, 198.51.100.1` }), '100.64.0.3')
})

t.test('client address can itself be in Railway’s network', async (t) => {
  t.equal(await addressOf({ kind: 'railway' }, '100.64.0.3', { 'x-real-ip': '100.64.9.9' }), '100.64.9.9')
})

t.test('client address is the last one of X-Forwarded-For that is not a trusted proxy', async (t) => {
  const proxies: TrustedProxies = { kind: 'networks', networks: ['10.0.0.0/8', 'fd12::/16', '192.0.2.7'] }

  t.equal(await addressOf(proxies, '10.1.2.3', { 'x-forwarded-for': `6.6.6.6, ${client}, 10.9.9.9` }), client)
  t.equal(await addressOf(proxies, 'fd12::1', { 'x-forwarded-for': client }), client)
  t.equal(await addressOf(proxies, '192.0.2.7', { 'x-forwarded-for': client }), client)
  t.equal(await addressOf(proxies, '192.0.2.8', { 'x-forwarded-for': client }), '192.0.2.8')
})
