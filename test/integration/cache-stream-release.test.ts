import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { readdir, readlink, writeFile } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { until } from '../support/until.ts'

/** A payload without an end, and whether its resources were released. */
interface Held { readonly payload: unknown, readonly isReleased: () => boolean }

const chunk = Buffer.alloc(1024, 'a')

function endless (): Readable {
  return new Readable({ read () { setImmediate(() => this.push(chunk)) } })
}

function endlessWeb (): { stream: ReadableStream, isReleased: () => boolean } {
  let isReleased = false
  const stream = new ReadableStream({ pull: async (controller) => { await nextTurn(); controller.enqueue(chunk) }, cancel: () => { isReleased = true } })
  return { stream, isReleased: () => isReleased }
}

/** The status of a Response replaces the status of the reply. */
const payloads: Record<string, (status: number) => Held> = {
  'a stream': () => {
    const payload = endless()
    return { payload, isReleased: () => payload.destroyed }
  },
  'a stream that reports its abort as an error': () => {
    const payload = new Readable({ read () { setImmediate(() => this.push(chunk)) }, destroy (error, done) { setImmediate(done, error ?? new Error('aborted')) } })
    return { payload, isReleased: () => payload.destroyed }
  },
  'a web stream': () => {
    const { stream, isReleased } = endlessWeb()
    return { payload: stream, isReleased }
  },
  'a Response': (status) => {
    const { stream, isReleased } = endlessWeb()
    return { payload: new Response(stream, { status }), isReleased }
  }
}

/** Sends a payload, and then makes it unnecessary. */
interface Way {
  /** whether the first request stores a response */
  readonly cache?: object
  readonly hasStored?: boolean
  readonly send: (reply: FastifyReply, payload: unknown) => unknown
  readonly sendRequest: (url: string, app: FastifyInstance) => Promise<unknown>
  readonly status?: number
  readonly except?: readonly string[]
}

const get = (headers: Record<string, string> = {}) => async (url: string) => { await (await fetch(url, { headers })).text() }

async function abort (url: string): Promise<void> {
  const request = http.get(url)
  request.on('error', () => {}) // the client's own abort
  const [response] = await once(request, 'response') as [http.IncomingMessage]
  await once(response, 'data')
  request.destroy()
}

const ways: Record<string, Way> = {
  'a stored response replaces its 502': { cache: { staleIfError: '1h' }, hasStored: true, status: 502, send: (reply, payload) => reply.code(502).send(payload), sendRequest: get() },
  'a stored response replaces its 502, for a conditional request': { cache: { staleIfError: '1h' }, hasStored: true, status: 502, send: (reply, payload) => reply.code(502).send(payload), sendRequest: get({ 'if-none-match': '"stored"' }) },
  'a stored response replaces its 502, for a range': { cache: { staleIfError: '1h' }, hasStored: true, status: 502, send: (reply, payload) => reply.code(502).send(payload), sendRequest: get({ range: 'bytes=0-1' }) },
  'it freshens a stored response': { hasStored: true, send: (reply, payload) => reply.code(304).send(payload), sendRequest: get(), except: ['a Response'] },
  'the request is HEAD': { send: (reply, payload) => reply.send(payload), sendRequest: async (url) => await fetch(url, { method: 'HEAD' }) },
  'a later hook fails': { send: (reply, payload) => reply.header('x-late', 'error').send(payload), sendRequest: get() },
  'a later hook fails, and it is not stored': { send: (reply, payload) => reply.headers({ 'x-late': 'error', 'cache-control': 'private' }).send(payload), sendRequest: get() },
  'a later hook sends another payload': { send: (reply, payload) => reply.header('x-late', 'other').send(payload), sendRequest: get() },
  'a later hook sends another payload, and it is not stored': { send: (reply, payload) => reply.headers({ 'x-late': 'other', 'cache-control': 'no-store' }).send(payload), sendRequest: get() },
  'its client disconnects': { send: (reply, payload) => reply.send(payload), sendRequest: abort },
  'its client disconnects, and it is not stored': { send: (reply, payload) => reply.header('cache-control', 'private').send(payload), sendRequest: abort },
  'its client disconnects during a slow hook': {
    send: (reply, payload) => reply.header('x-late', 'slow').send(payload),
    sendRequest: async (url) => {
      const request = http.get(url)
      request.on('error', () => {}) // the client's own abort
      await once(request, 'socket')
      await until(() => slow.length > 0, { what: 'the hook runs' })
      request.destroy()
      await nextTurn()
      slow.splice(0).forEach((goOn) => goOn())
    }
  },
  'it is too large, and its client disconnects': {
    send: (reply, payload) => reply.send(payload),
    sendRequest: async (url, app) => {
      const request = http.get(url)
      request.on('error', () => {}) // the client's own abort
      const [response] = await once(request, 'response') as [http.IncomingMessage]
      let bytes = 0
      for await (const part of response) if ((bytes += (part as Buffer).length) > 4096) break
      request.destroy()
      await app.redis.ping()
    }
  }
}

let slow: (() => void)[] = []

for (const [way, { cache = {}, hasStored = false, send, sendRequest, status = 200, except = [] }] of Object.entries(ways)) {
  t.test(`cache releases the resources of a stream that is not sent to its end: ${way}`, async (t) => {
    const app = await cachingApp(t, { maxBytes: 2048, server: { forceCloseConnections: true } })
    slow = []
    app.addHook('onSend', async (_request, reply, payload) => {
      const late = reply.getHeader('x-late')
      if (late === undefined) return payload
      reply.removeHeader('x-late')
      if (late === 'slow') await new Promise<void>((resolve) => { slow.push(resolve) })
      if (late === 'error') throw new Error('a later hook failed')
      return late === 'other' ? 'another payload' : payload
    })
    const held: Record<string, Held | undefined> = {}
    const names = Object.keys(payloads).filter((name) => !except.includes(name))
    const isKnown = new Set<string>()
    app.get<{ Params: { name: string } }>('/:name', { config: { cache: { ttl: '1h', ...cache } } }, (request, reply) => {
      const { name } = request.params
      if (hasStored && !isKnown.has(name)) {
        isKnown.add(name)
        reply.headers({ etag: '"stored"', age: '3660' }).send('stored')
        return
      }
      held[name] = payloads[name]?.(status)
      send(reply.type('text/plain'), held[name]?.payload)
    })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })

    for (const name of names) {
      const page = `${url}/${encodeURIComponent(name)}`
      if (hasStored) {
        await get()(page)
        await stored(app)
      }
      await sendRequest(page, app)
      t.ok(await until(() => held[name]?.isReleased(), { what: `${name} is released` }), name)
    }
    await stored(app)
    t.equal(app.cache.counts.write, hasStored ? app.cache.counts.write_ok : 0)
  })
}

t.test('cache closes the file of a response that a stored one replaces', { skip: process.platform !== 'linux' }, async (t) => {
  const app = await cachingApp(t)
  const file = join(t.testdir({}), 'page.txt')
  await writeFile(file, Buffer.alloc(1_000_000, 'a'))
  let isDown = false
  app.get('/:page', { config: { cache: { ttl: '1h', staleIfError: '1h' } } }, (_request, reply) => isDown ? reply.code(500).send(createReadStream(file)) : reply.header('age', '3660').send('stored'))
  const isOpen = async () => {
    const names = await readdir('/proc/self/fd')
    const targets = await Promise.all(names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')))
    return targets.filter((target) => target === file).length
  }

  for (const page of ['/a', '/b', '/c']) await app.inject(page)
  await stored(app)
  isDown = true
  for (const page of ['/a', '/b', '/c']) t.match((await app.inject(page)).headers, { 'cache-status': /fwd-status=500/, 'content-length': '6' })

  t.ok(await until(async () => await isOpen() === 0, { what: 'the files are closed' }))
})

t.test('cache releases the upstream connection of each response that a stored one replaces', async (t) => {
  let isDown = false
  const upstream = http.createServer((_request, response) => {
    if (isDown) response.writeHead(502).end(Buffer.alloc(1_000_000))
    else response.writeHead(200).end('good')
  }).listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const agent = new http.Agent({ keepAlive: true, maxSockets: 2 })
  t.teardown(() => { agent.destroy(); upstream.closeAllConnections(); upstream.close() })
  const app = await cachingApp(t)
  app.get('/:page', { config: { cache: { ttl: '1h', staleIfError: '1h' } } }, async (_request, reply) => {
    const request = http.get({ port: (upstream.address() as AddressInfo).port, host: '127.0.0.1', agent })
    const [incoming] = await once(request, 'response') as [http.IncomingMessage]
    return reply.code(incoming.statusCode ?? 0).headers(isDown ? {} : { age: '3660' }).send(incoming)
  })
  const pages = Array.from({ length: 6 }, (_, index) => `/${index}`)

  for (const page of pages) await app.inject(page)
  await stored(app)
  isDown = true
  for (const page of pages) t.equal((await app.inject(page)).body, 'good', page)
})
