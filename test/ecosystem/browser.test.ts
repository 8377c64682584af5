import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import t from 'tap'
import type { AddressInfo } from 'node:net'
import live from '../../plugins/live.ts'
import { complaintsOf, noBrowser, pagesOf } from '../support/chromium.ts'
import { until } from '../support/until.ts'
import { secret, startApp } from './support/app.ts'
import { closed } from './support/neighbour.ts'
import { writeRow } from './support/row.ts'

t.test('a page of another origin uses the API: cookies, refusals, preflights, live events', { skip: noBrowser }, async (t) => {
  const pages = Fastify()
  pages.get('/', async (_request, reply) => reply.type('text/html').send('<!doctype html><title>page</title>'))
  pages.get('/favicon.ico', async (_request, reply) => reply.code(204).send())
  // Another site than 127.0.0.1 would need cookies with SameSite=None: another port is another origin of the same site.
  await pages.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => pages.close())
  const origin = `http://127.0.0.1:${(pages.server.address() as AddressInfo).port}`
  const { app, url } = await startApp(t, {
    before: async (app) => {
      await app.register(cors, { origin: [origin], credentials: true, methods: ['GET', 'PUT', 'POST'], exposedHeaders: ['RateLimit', 'Cache-Status'] })
      await app.register(helmet, { crossOriginResourcePolicy: { policy: 'same-site' } })
    },
    stack: { session: { secrets: [secret], trustedOrigins: [origin] } },
    after: (app) => { app.register(live, { origins: [origin] }) }
  })
  const page = await pagesOf(t)(t)
  const complaints = complaintsOf(page)
  await page.goto(origin)

  const seen = await page.evaluate(async (api) => {
    const sendRequest = async (path: string, method = 'GET') => {
      const response = await fetch(api + path, { method, credentials: 'include' })
      return { status: response.status, body: await response.json() as { user?: string }, cache: response.headers.get('cache-status') }
    }
    const statuses = []
    for (let i = 0; i < 4; i++) statuses.push((await sendRequest('/few')).status)
    return {
      anonymous: (await sendRequest('/members')).status,
      signedIn: (await sendRequest('/sign-in/ada', 'POST')).status,
      put: (await sendRequest('/note/kept', 'PUT')).status,
      note: (await sendRequest('/note')).body,
      mine: (await sendRequest('/mine')).body.user,
      statuses,
      pages: [await sendRequest('/page/browser'), await sendRequest('/page/browser')]
    }
  }, url)
  t.match(seen, { anonymous: 401, signedIn: 200, put: 200, note: { note: 'kept' }, mine: 'ada', statuses: [200, 200, 200, 429] })
  t.same(seen.pages[0]?.body, seen.pages[1]?.body)
  t.same(complaints.filter((text) => !/status of (401|429)/.test(text)), [], 'the console has no other complaint')

  await page.evaluate((api) => {
    const source = new EventSource(`${api}/events?topic=user:ada`, { withCredentials: true })
    source.addEventListener('note.added', (event) => { (globalThis as any).document.title = JSON.parse((event as any).data).data })
  }, url)
  await until(() => app.live.counts.stream === 1, { what: 'the stream is open' })
  await app.events.publish('user:ada', { type: 'note.added', data: 'told' })
  await until(async () => await page.title() === 'told', { what: 'the page hears the event' })

  await page.evaluate((api) => {
    const socket = new WebSocket(`${api.replace('http', 'ws')}/live`)
    socket.addEventListener('close', ({ code }) => { (globalThis as any).document.title = String(code) })
  }, url)
  await until(() => app.live.counts.websocket === 1, { what: 'the socket is open' })
  await closed(app)
  await until(async () => await page.title() === '1012', { what: 'the page is told to connect again' })
})

writeRow({ packages: ['Chromium'], order: 'client', works: ['fetch with credentials from another origin: sessions, refusals and preflights are seen by the page; live events; close ends its stream and its socket'], fails: [] })
