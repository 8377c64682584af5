import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { brotliDecompressSync } from 'node:zlib'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { until } from '../support/until.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** A stream of this many chunks of 64 KiB, which can fail. */
function chunks (count: number, breaksAt = Infinity): Readable {
  let index = 0
  return new Readable({
    read () {
      if (index === breaksAt) this.destroy(new Error('cut'))
      else this.push(index++ < count ? Buffer.alloc(65_536, 'a') : null)
    }
  })
}

t.test('cache stores a stream that ends without error and is not too large', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/', { config: { cache: true } }, async (_request, reply) => {
    runs++
    return reply.type('text/plain').send(Readable.from(['one ', 'two ', 'x'.repeat(3000)]))
  })

  const first = await app.inject('/')
  await until(() => app.cache.counts.write_ok === 1, { what: 'the stream is stored' })
  const second = await app.inject('/')

  t.equal(runs, 1)
  t.equal(second.body, first.body)
  t.equal(second.headers['content-length'], '3008')
  t.match(second.headers['cache-status'], /hit/)
})

t.test('cache stores web streams and bodies of a Response', async (t) => {
  const app = await cachingApp(t)
  app.get('/stream', { config: { cache: true } }, async (_request, reply) => reply.type('text/plain').send(ReadableStream.from(['one ', 'two'])))
  app.get('/response', { config: { cache: true } }, async (_request, reply) => reply.send(new Response('three', { status: 203, headers: { 'x-own': '1' } })))

  t.equal((await app.inject('/stream')).body, 'one two')
  await until(() => app.cache.counts.write_ok === 1, { what: 'the stream is stored' })
  t.match(await app.inject('/stream'), { body: 'one two', headers: { 'cache-status': /hit/, 'content-type': 'text/plain' } })
  for (const time of ['once', 'twice']) t.match(await app.inject('/response'), { statusCode: 203, body: 'three', headers: { 'x-own': '1', 'cache-status': time === 'once' ? /fwd=miss/ : /hit|collapsed/ } }, time)
})

t.test('cache does not store a stream that is too large, and reads from it only as fast as the client', async (t) => {
  const app = await cachingApp(t)
  const source = chunks(160)
  let taken = 0
  source.on('data', (chunk: Buffer) => { taken += chunk.length }).pause()
  app.get('/', { config: { cache: true } }, async (_request, reply) => reply.type('text/plain').send(source))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const address = app.server.address()
  const socket = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  let before = 0

  await until(() => {
    const isStill = taken > 0 && taken === before
    before = taken
    return isStill
  }, { what: 'nothing more is read while the client reads nothing', everyMs: 200 })
  const whileClientSlept = taken
  let bytes = 0
  for await (const chunk of socket) bytes += (chunk as Buffer).length

  t.ok(whileClientSlept < 8_388_608, `${whileClientSlept} bytes were read while the client paused`)
  t.ok(bytes > 10_485_760)
  t.equal(app.cache.counts.write, 0)
})

t.test('cache holds no memory of streams that are too large, cut or abandoned', async (t) => {
  const app = await cachingApp(t, { server: { forceCloseConnections: true } })
  app.get('/large', { config: { cache: { tags: ['a'] } } }, async (_request, reply) => reply.type('text/plain').send(chunks(160)))
  app.get('/cut', { config: { cache: true } }, async (_request, reply) => reply.type('text/plain').send(chunks(160, 80)))
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const drink = async (path: string, isAbandoned: boolean) => {
    const response = await fetch(url + path)
    let bytes = 0
    try {
      for await (const chunk of response.body ?? []) {
        bytes += (chunk as Uint8Array).length
        if (isAbandoned && bytes > 1_048_576) return
      }
    } catch {} // the stream is cut
  }
  const held = () => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }
  await drink('/large', false)

  const before = held()
  for (let count = 0; count < 5; count++) await Promise.all([drink('/large', false), drink('/large', true), drink('/cut', false)])
  await app.close()

  t.equal(app.cache.counts.write, 0)
  // Memory of a closed socket is collected one turn later.
  t.ok(await until(() => held() - before < 4_194_304, { what: 'less than 4 MiB more than before, after 110 MiB of streams' }))
})

t.test('cache does not store a stream that is cut in the middle', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/', { config: { cache: true } }, async (_request, reply) => {
    runs++
    return reply.type('text/plain').send(chunks(2, 1))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  await t.rejects(fetch(url).then((response) => response.text()))
  await t.rejects(fetch(url).then((response) => response.text()))

  t.equal(runs, 2)
  t.equal(app.cache.counts.write, 0)
})

t.test('cache does not store a stream that is shorter than its Content-Length', async (t) => {
  const app = await cachingApp(t)
  let length = '100'
  app.get('/', { config: { cache: true } }, async (_request, reply) => reply.type('text/plain').header('content-length', length).send(Readable.from(['only ten..'])))

  await app.inject('/')
  await stored(app)
  t.equal(app.cache.counts.write, 0)
  length = '10'
  await app.inject('/')
  await stored(app)

  t.match((await app.inject('/')).headers, { 'cache-status': /hit/, 'content-length': '10' })
})

t.test('cache stores a stream whose client leaves once it has all bytes of the Content-Length', async (t) => {
  const app = await cachingApp(t)
  const left = Promise.withResolvers<void>()
  app.addHook('onRequest', async ({ raw }) => { raw.socket.once('close', () => left.resolve()) })
  app.get('/', { config: { cache: true } }, async (_request, reply) => {
    // It ends only after its client has left.
    const source = Readable.from((async function * () {
      yield 'all bytes'
      await left.promise
    })())
    return reply.type('text/plain').header('content-length', '9').send(source)
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  t.equal(await fetch(url, { headers: { connection: 'close' } }).then((response) => response.text()), 'all bytes')
  await left.promise
  await until(() => app.cache.counts.write_ok === 1, { what: 'the response is stored' })
  t.match((await app.inject('/')).headers, { 'cache-status': /hit/, 'content-length': '9' })
})

t.test('cache destroys a stream that fails or is not sent before its start', async (t) => {
  const app = await cachingApp(t)
  const sources: Record<string, Readable> = {}
  const gate = Promise.withResolvers<void>()
  app.addHook('onSend', async (request, reply, payload) => {
    if (request.url === '/failing') {
      sources[request.url]?.destroy(new Error('broken'))
      await gate.promise
    }
    if (request.url !== '/unwanted') return payload
    reply.removeHeader('content-length')
    return 'another response'
  })
  for (const path of ['/failing', '/unwanted', '/wanted']) {
    app.get(path, { config: { cache: true } }, async (_request, reply) => {
      sources[path] = Readable.from(['one', 'two'])
      return reply.type('text/plain').send(sources[path])
    })
  }

  const failing = app.inject('/failing')
  await until(() => sources['/failing']?.destroyed, { what: 'the stream has failed' })
  setImmediate(gate.resolve)
  t.equal((await failing).statusCode, 500)
  t.equal((await app.inject('/unwanted')).body, 'another response')
  await until(() => sources['/unwanted']?.destroyed, { what: 'the stream is destroyed' })
  t.equal((await app.inject('/wanted')).body, 'onetwo')
  await until(() => app.cache.counts.write_ok === 1, { what: 'the response is stored' })
})

t.test('cache does not store a stream whose client disconnected, and destroys its source', async (t) => {
  const app = await cachingApp(t)
  let source: Readable | undefined
  app.get('/', { config: { cache: true } }, async (_request, reply) => {
    source = new Readable({ read () {} })
    source.push('begin')
    return reply.type('text/plain').send(source)
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const address = app.server.address()
  const socket = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')

  await until(() => socket.bytesRead > 0, { what: 'the response has begun' })
  socket.destroy()
  await until(() => source?.destroyed, { what: 'the source is destroyed' })

  t.equal(app.cache.counts.write, 0)
})

t.test('cache delays no client by a store that hangs, and no waiter by a slow client', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  const gate = Promise.withResolvers<void>()
  app.get('/', { config: { cache: true } }, async (_request, reply) => {
    if (++runs > 1) return reply.type('text/plain').send('second')
    return reply.type('text/plain').send(Readable.from((async function * () {
      yield 'first'
      await gate.promise
    })()))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  const slow = await fetch(url)
  const waiting = fetch(url).then((response) => response.text())
  const winner = await Promise.race([waiting, sleep(10_000, 'nothing', { ref: false })])
  gate.resolve()

  t.equal(winner, 'second')
  t.equal(await slow.text(), 'first')
})

t.test('cache stores bodies compressed, and serves each client an encoding that it accepts', async (t) => {
  const app = await cachingApp(t)
  const body = { text: 'abc '.repeat(1000) }
  app.get('/', { config: { cache: true } }, async () => body)
  app.get('/small', { config: { cache: true } }, async () => ({ a: 1 }))
  app.get('/fixed', { config: { cache: true } }, async (_request, reply) => reply.header('cache-control', 'no-transform').send(body))
  app.get('/coded', { config: { cache: true } }, async (_request, reply) => reply.header('content-encoding', 'x-own').send(Buffer.alloc(3000)))
  const read = async (url: string, headers = {}) => await app.inject({ url, headers })

  const first = await read('/')
  await stored(app)
  const plain = await read('/')
  const coded = await read('/', { 'accept-encoding': 'gzip, br' })
  const refused = await read('/', { 'accept-encoding': 'br;q=0, gzip' })

  t.equal(first.headers.vary, 'accept-encoding')
  t.same(plain.json(), body)
  t.same(refused.json(), body)
  t.equal(plain.headers['content-encoding'], undefined)
  t.equal(plain.headers['content-length'], String(JSON.stringify(body).length))
  t.equal(coded.headers['content-encoding'], 'br')
  t.same(JSON.parse(brotliDecompressSync(coded.rawPayload).toString()), body)
  t.equal(coded.headers['content-length'], String(coded.rawPayload.length))
  t.equal(plain.headers.etag, first.headers.etag)
  t.not(coded.headers.etag, plain.headers.etag)
  t.same([coded.headers.vary, plain.headers.vary], ['accept-encoding', 'accept-encoding'])
  for (const tag of [coded.headers.etag, plain.headers.etag]) t.equal((await read('/', { 'if-none-match': String(tag), 'accept-encoding': 'br' })).statusCode, 304)
  t.equal((await read('/', { range: 'bytes=2-5', 'accept-encoding': 'br' })).body, 'text')
  const [key = ''] = (await app.redis.keys('api:cache:GET:*'))
  t.ok(await app.redis.strlen(key) < 500)

  for (const url of ['/small', '/fixed', '/coded']) {
    await read(url)
    await stored(app)
    t.not((await read(url, { 'accept-encoding': 'br' })).headers['content-encoding'], 'br', url)
  }
})

t.test('cache stores 10 kB of JSON in 11 kB, and in less than 1 kB compressed', async (t) => {
  const rows = Array.from({ length: 84 }, (_, index) => ({ id: index, name: `City ${index}`, country: 'FR', population: index * 1000, location: { lat: index / 10, lon: -index / 10 }, tags: ['city', 'europe'] }))
  const sizes: Record<string, number> = {}
  for (const coding of [false, 'gzip', 'br'] as const) {
    const app = await cachingApp(t, { compression: coding })
    app.get('/', { config: { cache: true } }, async () => rows)
    const { body } = await app.inject('/')
    await stored(app)
    const [key = ''] = await app.redis.keys('api:cache:GET:*')
    sizes[String(coding)] = await app.redis.strlen(key) - (coding === false ? body.length : 0)
    sizes.body = body.length
  }

  t.comment(JSON.stringify(sizes))
  t.ok((sizes.body ?? 0) > 10_000)
  t.ok((sizes.false ?? Infinity) < 400, 'bytes before the body')
  t.ok((sizes.gzip ?? Infinity) < 1500)
  t.ok((sizes.br ?? Infinity) < 1300)
})
