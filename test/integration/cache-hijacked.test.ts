import { get } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import type { FastifyHttpOptions, FastifyInstance, FastifyReply, RawServerDefault } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

const head = { 'content-type': 'text/plain' }
const endless = () => new Readable({ read () { this.push('first') } })

/** Ways to send a response that does not end. */
const ways: Record<string, (reply: FastifyReply) => unknown> = {
  'hijacks the reply': (reply) => { reply.hijack().raw.writeHead(200, head).write('first') },
  'writes a head to reply.raw': (reply) => { reply.raw.writeHead(200, head).write('first') },
  'writes to reply.raw': (reply) => { reply.raw.write('first') },
  'flushes the head of reply.raw': (reply) => { reply.raw.flushHeaders(); reply.raw.write('first') },
  'sends an event stream': (reply) => reply.type('text/event-stream; charset=utf-8').send(endless()),
  'sends an event stream of the web': (reply) => reply.type('text/event-stream').send(Readable.toWeb(endless())),
  'sends parts that replace each other': (reply) => reply.type('multipart/x-mixed-replace; boundary=x').send(endless())
}

async function listening (t: Test, url: string, isHttp2: boolean): Promise<FastifyInstance> {
  const app = await cachingApp(t, { url, ...(isHttp2 ? { server: { http2: true } as unknown as FastifyHttpOptions<RawServerDefault> } : {}) })
  return app
}

/** Resolves with the first bytes of the body. The request stays open until the test ends. */
function firstBytes (t: Test, app: FastifyInstance, isHttp2: boolean): Promise<string> {
  const { port } = app.server.address() as AddressInfo
  return new Promise((resolve, reject) => {
    if (isHttp2) {
      const client = connect(`http://127.0.0.1:${port}`).on('error', reject)
      t.teardown(() => client.destroy())
      client.request({ ':path': '/' }).once('data', (chunk: Buffer) => resolve(String(chunk).slice(0, 5))).on('error', () => {})
      return
    }
    const request = get({ port, host: '127.0.0.1', path: '/', agent: false }, (response) => { response.once('data', (chunk: Buffer) => resolve(String(chunk).slice(0, 5))).on('error', () => {}) })
    request.on('error', reject)
    t.teardown(() => request.off('error', reject).on('error', () => {}).destroy())
  })
}

for (const isHttp2 of [false, true]) {
  for (const [name, send] of Object.entries(ways)) {
    t.test(`requests do not wait for a handler that ${name}, in any process, over HTTP/${isHttp2 ? 2 : 1}`, async (t) => {
      const { url } = await startRedisProcess(t)
      const apps = [await listening(t, url, isHttp2), await listening(t, url, isHttp2)] as const
      const gate = Promise.withResolvers<void>()
      let runs = 0
      for (const app of apps) {
        app.get('/', { config: { cache: { lockTimeout: '30s' } } }, async (_request, reply) => {
          if (++runs === 1) await gate.promise
          // Never resolves where the handler writes by itself, as Fastify would send an empty response.
          return send(reply) ?? await new Promise(() => {})
        })
        await app.listen({ port: 0, host: '127.0.0.1' })
      }
      const waits = () => apps[0].cache.counts.wait + apps[1].cache.counts.wait
      const first = firstBytes(t, apps[0], isHttp2)
      await until(() => runs === 1, { what: 'the handler runs' })
      const others = [apps[0], apps[0], apps[1], apps[1]].map((app) => firstBytes(t, app, isHttp2))
      await until(() => waits() >= 4, { what: 'the others wait' })
      gate.resolve()

      t.same(await Promise.all([first, ...others]), Array(5).fill('first'))
      t.equal(await firstBytes(t, apps[1], isHttp2), 'first')
      t.equal(runs, 6)
    })
  }
}

t.end() // every test starts its own apps
