import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { EventSource } from 'eventsource'
import t from 'tap'
import type { Test } from 'tap'
import { Agent, cacheStores, interceptors, request } from 'undici'
import { WebSocket } from 'ws'
import live from '../../plugins/live.ts'
import { until } from '../support/until.ts'
import { startApp } from './support/app.ts'
import type { AppParts } from './support/app.ts'
import { closed, signedIn } from './support/neighbour.ts'
import { writeRow } from './support/row.ts'

const run = promisify(execFile)

/** Runs a program, or gives undefined where this machine does not have it. */
async function has (program: string, ...args: string[]): Promise<boolean> {
  return await run(program, args).then(() => true, () => false)
}

const browsed: AppParts = {
  after: (app) => {
    let runs = 0
    app.get('/browser', { config: { cache: { ttl: '5m', browserMaxAge: '1m' } } }, async () => ({ run: ++runs }))
    app.get('/large', { config: { cache: { ttl: '5m' } } }, async () => ({ text: 'a line of a page '.repeat(1_000) }))
    app.register(live)
  }
}

t.test('undici: its cache revalidates by our entity tag, and pipelining keeps the order', async (t) => {
  const { url } = await startApp(t, browsed)
  const agent = new Agent({ pipelining: 8, connections: 1 })
  t.teardown(() => agent.close())
  const dispatcher = agent.compose(interceptors.cache({ store: new cacheStores.MemoryCacheStore() }))
  const first = await request(`${url}/browser`, { dispatcher }).then(({ body }) => body.json())
  t.same(await request(`${url}/browser`, { dispatcher }).then(({ body }) => body.json()), first)
  const pages = await Promise.all(Array.from({ length: 40 }, async (_, id) => await (await request(`${url}/page/${id}`, { dispatcher: agent })).body.json() as { id: string }))
  t.same(pages.map(({ id }) => id), Array.from({ length: 40 }, (_, id) => String(id)))
})

const hasCurl = await has('curl', '--version')
t.test('curl: a cookie jar, compression, conditions and HEAD', { skip: hasCurl ? false : 'curl is not installed' }, async (t) => {
  const { url } = await startApp(t, browsed)
  const folder = mkdtempSync(join(tmpdir(), 'prism-curl-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const jar = join(folder, 'jar')
  const curl = async (...args: string[]) => (await run('curl', ['--silent', '--show-error', '--cookie', jar, '--cookie-jar', jar, ...args])).stdout
  await curl('--request', 'PUT', `${url}/note/kept`)
  t.same(JSON.parse(await curl(`${url}/note`)), { note: 'kept' })
  t.match(readFileSync(jar, 'utf8'), /\tsid\t/)
  t.match(JSON.parse(await curl('--compressed', `${url}/large`)).text, /^a line/)
  t.match(JSON.parse(await curl('--compressed', `${url}/large`)).text, /^a line/)
  const tags = join(folder, 'tags')
  await curl('--etag-save', tags, `${url}/page/curl`)
  t.equal(await curl('--etag-compare', tags, '--output', '/dev/null', '--write-out', '%{http_code}', `${url}/page/curl`), '304')
  t.match(await curl('--head', `${url}/page/curl`), /^HTTP\/1\.1 200/)
  t.equal(await curl('--http2-prior-knowledge', '--output', '/dev/null', '--write-out', '%{http_code}', `${url}/page/curl`).catch(() => 'refused'), 'refused', 'HTTP/2 without TLS is refused, and the process goes on')
  t.same(JSON.parse(await curl(`${url}/note`)), { note: 'kept' })
})

const hasRequests = await has('python3', '-c', 'import requests')
t.test('Python requests: a session, redirects, uploads and streams', { skip: hasRequests ? false : 'Python requests is not installed' }, async (t) => {
  const { url } = await startApp(t, browsed)
  const folder = mkdtempSync(join(tmpdir(), 'prism-python-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'client.py'), `
import json, requests, sys
url = sys.argv[1]
with requests.Session() as session:
    session.trust_env = False
    session.put(url + '/note/kept')
    note = session.get(url + '/note').json()
    session.post(url + '/sign-in/ada')
    mine = session.get(url + '/mine').json()
    text = [session.get(url + '/large').json()['text'][:6] for _ in range(2)]
    tag = session.get(url + '/page/python').headers['ETag']
    again = session.get(url + '/page/python', headers={'If-None-Match': tag}).status_code
    upload = session.post(url + '/upload', data=b'x' * 300000, headers={'Content-Type': 'application/octet-stream'}).status_code
    stream = sum(len(chunk) for chunk in session.get(url + '/stream', stream=True).iter_content(4096))
print(json.dumps({'note': note, 'user': mine['user'], 'text': text, 'again': again, 'upload': upload, 'stream': stream}))
`)
  const { stdout } = await run('python3', [join(folder, 'client.py'), url])
  t.match(JSON.parse(stdout), { note: { note: 'kept' }, user: 'ada', text: ['a line', 'a line'], again: 304, upload: 200 })
})

t.test('EventSource and ws: an event of the bus reaches both, and only their own user; close ends both', async (t) => {
  const { app, url } = await startApp(t, browsed)
  const [ada, bob] = [await signedIn(url, 'ada'), await signedIn(url, 'bob')]
  const seen: string[] = []
  const source = new EventSource(`${url}/events?topic=user:ada`, { fetch: (input, init) => fetch(input, { ...init, headers: { ...init?.headers as Record<string, string>, cookie: ada.cookie } }) })
  t.teardown(() => source.close())
  source.addEventListener('note.added', ({ data }) => { seen.push(`stream ${JSON.parse(data).data}`) })
  const sockets = await Promise.all([ada, bob].map(({ cookie }) => opened(t, url, cookie)))
  for (const [index, socket] of sockets.entries()) {
    socket.on('message', (frame) => {
      const { type, event } = JSON.parse(String(frame))
      if (type === 'event') seen.push(`socket ${index} ${event.data}`)
    })
    const response = once(socket, 'message')
    socket.send(JSON.stringify({ type: 'subscribe', topic: 'user:ada' }))
    t.equal(JSON.parse(String((await response)[0])).type, index === 0 ? 'subscribed' : 'error')
  }
  await until(() => app.live.counts.stream === 1, { what: 'the stream is open' })

  await app.events.publish('user:ada', { type: 'note.added', data: 'first' })
  await until(() => seen.length === 2, { what: 'the event arrives at both' })
  t.same(seen.sort(), ['socket 0 first', 'stream first'])

  const ended = Promise.all(sockets.map((socket) => once(socket, 'close')))
  await closed(app)
  t.same((await ended).map(([code]) => code), [1012, 1012])
  t.not(source.readyState, EventSource.OPEN)
})

async function opened (t: Test, url: string, cookie: string): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { headers: { cookie, origin: url } })
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  return socket
}

const clients: Record<string, readonly string[]> = {
  undici: ['its cache and its pipelining'],
  curl: ['cookie jar, compression, conditions, HEAD; HTTP/2 without TLS is refused'],
  'Python requests': ['sessions, compression, conditions, uploads, streams'],
  eventsource: ['live events of its user; close ends its streams'],
  ws: ['live events of its user; close ends its sockets']
}
for (const [name, works] of Object.entries(clients)) writeRow({ packages: [name], order: 'client', works, fails: [] })
