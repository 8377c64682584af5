import fastify from 'fastify'
import type { FastifyServerOptions } from 'fastify'
import { test } from 'tap'
import { bareAddress } from '../../../src/http/ip-subnet.ts'
import { clientAddress, clientKey } from '../../../src/http/client-key.ts'

/** The client's address and key for a request from a peer with this field. */
async function seen (trustProxy: FastifyServerOptions['trustProxy'], forwarded: string | undefined, peer = '10.0.0.1'): Promise<[address: string, key: string]> {
  const app = fastify({ trustProxy: trustProxy as string[] })
  app.get('/', async (request) => [clientAddress(request), clientKey(clientAddress(request))])
  const reply = await app.inject({ url: '/', remoteAddress: peer, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } })
  await app.close()
  return reply.json()
}

const proxies = ['10.0.0.0/8', 'fd12::/16']

test('client-key reads the address alone if a proxy appends a port', async (t) => {
  const spellings: Record<string, string[]> = {
    '203.0.113.9': ['203.0.113.9', '203.0.113.9:51234', '203.0.113.9:_hidden', '"203.0.113.9:51234"', 'for=203.0.113.9', 'For="203.0.113.9:51234";proto=https', '[203.0.113.9]:51234', ' 203.0.113.9:51234 ', '::ffff:203.0.113.9', '::ffff:203.0.113.9:51234', '[::ffff:203.0.113.9]:51234'],
    '2001-db8-1-2-0-0-0-0': ['2001:db8:1:2::7', '[2001:db8:1:2::7]', '[2001:db8:1:2::7]:51234', '"[2001:db8:1:2::7]:51234"', 'for="[2001:db8:1:2::7]:51234"', '2001:db8:1:2::7:443', '[2001:DB8:1:2::7%eth0]:443']
  }
  for (const [key, forms] of Object.entries(spellings)) for (const form of forms) t.equal((await seen(proxies, form))[1], key, form)
})

test('client-key finds the client behind proxies that write ports', async (t) => {
  for (const chain of ['203.0.113.9:51234, 10.0.0.5:443', '198.51.100.1, 203.0.113.9:1, 10.0.0.5:443, 10.9.9.9', '203.0.113.9, [fd12::1]:443', 'unknown, "203.0.113.9:51234", "10.0.0.5:443"']) {
    t.same(await seen(proxies, chain), ['203.0.113.9', '203.0.113.9'], chain)
  }
  t.same(await seen((address: string, hop: number) => hop < 2, '203.0.113.9:51234, 10.0.0.5:443'), ['203.0.113.9', '203.0.113.9'], 'with a trust function')
})

test('client-key uses the proxy\'s address if the field has none, and no text of a field is in a key', async (t) => {
  for (const field of ['unknown', '_hidden', '203.0.113.256:1', '203.0.113.9:1:2', '[203.0.113.9', '[]:1', '{a}', 'x'.repeat(10_000), '', undefined]) {
    t.same(await seen(proxies, field), ['10.0.0.1', '10.0.0.1'], String(field).slice(0, 20))
  }
  t.same(await seen(proxies, '203.0.113.9:51234', '192.0.2.1'), ['192.0.2.1', '192.0.2.1'], 'the field of an untrusted peer is ignored')
  t.equal(clientKey(clientAddress({ raw: { headers: {} } })), 'unknown', 'a socket without an address')
})

test('client-key reads a field of many hops in linear time', async (t) => {
  const field = `${'1.2.3.4:5,'.repeat(1600)}203.0.113.9:51234`

  t.same(await seen(proxies, field), ['203.0.113.9', '203.0.113.9'])
  t.equal(bareAddress('"'.repeat(100_000)).length, 100_000)
})
