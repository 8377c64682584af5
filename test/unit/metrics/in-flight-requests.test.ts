import { once } from 'node:events'
import { createServer, get } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { InFlightRequests } from '../../../src/metrics/in-flight-requests.ts'
import type { PendingResponse } from '../../../src/metrics/in-flight-requests.ts'

/** A real server whose responses stay open until the test ends them. */
async function openServer (t: Test) {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const { port } = server.address() as AddressInfo
  return {
    request: async () => {
      const client = get({ port, host: '127.0.0.1', agent: false })
      client.on('error', () => {})
      const [, raw] = await once(server, 'request') as [unknown, ServerResponse]
      const reply: PendingResponse = { raw, sent: false, getHeader: (name) => raw.getHeader(name) }
      return { client, raw, reply }
    }
  }
}

t.test('requests are counted from start to end, whatever the order in which they end', async (t) => {
  const server = await openServer(t)
  const inFlight = new InFlightRequests()
  const replies = await Promise.all(Array.from({ length: 20 }, async () => (await server.request()).reply))
  for (const reply of replies) inFlight.add(reply)
  t.equal(inFlight.count, 20)

  for (const reply of replies.filter((_, index) => index % 3 === 0)) inFlight.delete(reply)
  t.equal(inFlight.count, 13)
  for (const reply of replies.filter((_, index) => index % 3 === 0)) inFlight.add(reply)
  t.equal(inFlight.count, 20, 'the slots of those that ended serve the next ones')
  for (const reply of replies) inFlight.delete(reply)
  t.equal(inFlight.count, 0)
})

t.test('a second end of a request does not end the request that uses its slot now', async (t) => {
  const server = await openServer(t)
  const inFlight = new InFlightRequests()
  const [{ reply: first }, { reply: second }] = await Promise.all([server.request(), server.request()])
  inFlight.add(first)
  inFlight.delete(first)
  inFlight.add(second)
  inFlight.delete(first)
  t.equal(inFlight.count, 1)
  inFlight.delete({ ...second })
  t.equal(inFlight.count, 1, 'nor does a reply that was never added')
})

t.test('a request whose client has disconnected is not in flight any more, and its later end changes nothing', async (t) => {
  const server = await openServer(t)
  const inFlight = new InFlightRequests()
  const { client, raw, reply } = await server.request()
  const { reply: other } = await server.request()
  inFlight.add(reply)
  inFlight.add(other)
  client.destroy()
  await once(raw, 'close')
  t.equal(inFlight.count, 1)
  inFlight.delete(reply)
  t.equal(inFlight.count, 1)
})

t.test('an event stream is not in flight once its head was sent', async (t) => {
  const server = await openServer(t)
  const inFlight = new InFlightRequests()
  const { raw, reply } = await server.request()
  inFlight.add(reply)
  t.equal(inFlight.count, 1)
  raw.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  t.equal(inFlight.count, 0)
})
