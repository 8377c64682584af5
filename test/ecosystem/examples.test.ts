import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { EventSource } from 'eventsource'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../support/until.ts'
import { Client } from './support/client.ts'
import { copyExample, dependenciesOf, startExample } from './support/example.ts'

const root = join(import.meta.dirname, '../..')
const json = { 'content-type': 'application/json' }

/** What a user of each example sees. */
const examples: Record<string, (t: Test, folder: string) => Promise<void>> = {
  minimal: async (t, folder) => {
    const client = new Client({ url: await startExample(t, folder) })
    const { body } = await client.get('/time')
    t.same((await until(async () => { const response = await client.get('/time'); return response.isHit && response }, { what: 'a hit' })).body, body)
    t.equal((await client.get('/account')).status, 401)
    await client.post('/sign-in/ada')
    t.same((await client.get('/account')).body, { user: 'ada' })
    await client.post('/purge')
    t.not((await client.get('/time')).body.run, body.run)
  },

  passport: async (t, folder) => {
    const url = await startExample(t, folder)
    const [ada, bob] = [new Client({ url }), new Client({ url })]
    const signIn = (client: Client, name: string, password: string) => client.post('/sign-in', { headers: json, body: JSON.stringify({ name, password }) })
    t.equal((await signIn(ada, 'ada', 'wrong')).status, 401)
    t.same((await signIn(ada, 'ada', 'countess')).body, { user: 'ada' })
    t.same((await signIn(bob, 'bob', 'builder')).body, { user: 'bob' })
    for (const [client, user] of [[ada, 'ada'], [bob, 'bob'], [ada, 'ada']] as const) t.same((await client.get('/account')).body, { user })
    await ada.post('/sign-out')
    t.equal((await ada.get('/account')).status, 401)
  },

  graphql: async (t, folder) => {
    const client = new Client({ url: await startExample(t, folder) })
    const urlOf = (query: string) => `/graphql?query=${encodeURIComponent(query)}`
    const paris = urlOf('{ city(id: 1) { name } }')
    t.same((await client.get(paris)).body, { data: { city: { name: 'Paris' } } })
    await client.hit(paris)
    await client.get(urlOf('{ city(id: 1) { id } }'))
    t.same((await client.get(urlOf('{ loads }'))).body, { data: { loads: 1 } }, 'one load for two queries')
    const renamed = await client.post('/graphql', { headers: json, body: JSON.stringify({ query: 'mutation { rename(id: 1, name: "Lutetia") { name } }' }) })
    t.same(renamed.body, { data: { rename: { name: 'Lutetia' } } })
    t.same((await client.get(paris)).body, { data: { city: { name: 'Lutetia' } } })
  },

  'proxy-cache': async (t, folder) => {
    let runs = 0
    const upstream = Fastify()
    t.after(() => upstream.close())
    upstream.get('/kept', async (_request, reply) => reply.header('cache-control', 'max-age=60').send({ run: ++runs }))
    upstream.get('/never', async (_request, reply) => reply.header('cache-control', 'no-store').send({ run: ++runs }))
    upstream.put('/kept', async () => ({}))
    const client = new Client({ url: await startExample(t, folder, { env: { UPSTREAM: await upstream.listen({ port: 0, host: '127.0.0.1' }) } }) })
    const { body } = await client.get('/kept')
    t.same((await client.hit('/kept')).body, body)
    t.not((await client.get('/never')).body.run, (await client.get('/never')).body.run)
    t.equal((await client.put('/kept')).status, 200)
    t.not((await client.get('/kept')).body.run, body.run, 'a PUT invalidates it')
  },

  'server-sent-events': async (t, folder) => {
    const url = await startExample(t, folder)
    const client = new Client({ url })
    const seen: string[] = []
    const source = new EventSource(`${url}/events?topic=news`)
    t.after(() => source.close())
    source.addEventListener('news.told', ({ data }) => { seen.push(data) })
    await until(() => source.readyState === EventSource.OPEN, { what: 'the stream is open' })
    t.ok((await client.post('/news', { headers: json, body: JSON.stringify({ text: 'hello' }) })).body.id)
    await until(() => seen.length > 0, { what: 'the event arrives' })
    t.match(seen[0], 'hello')
    t.match((await client.get('/')).text, 'EventSource')
  },

  nestjs: async (t, folder) => {
    await promisify(execFile)(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--project', folder, '--noCheck'])
    const client = new Client({ url: await startExample(t, folder, { file: 'dist/app.js' }) })
    const { body } = await client.get('/cities/7')
    t.same((await client.hit('/cities/7')).body, body)
    t.equal((await client.get('/account')).status, 401)
    await client.post('/sign-in/ada')
    t.same((await client.get('/account')).body, { user: 'ada' })
  },

  'several-instances': async (t, folder) => {
    const clients = (await Promise.all([startExample(t, folder), startExample(t, folder)])).map((url) => new Client({ url })) as [Client, Client]
    const reports = await Promise.all([...clients, ...clients].map((client) => client.get('/report')))
    t.equal(new Set(reports.map(({ body }) => body.madeBy)).size, 1, 'one of the processes has made it')
    const few = []
    for (let i = 0; i < 12; i++) few.push((await clients[i % 2 as 0 | 1].get('/few')).status)
    t.same(few, [...Array(10).fill(200), 429, 429])
    await clients[0].post('/purge')
    const purged = await until(async () => { const { body } = await clients[1].get('/last-purge'); return body.last !== null && body }, { what: 'the other process is told' })
    t.not(purged.last.by, purged.seenBy)
    t.notOk((await clients[1].get('/report')).isHit)
  },

  'from-fastify-rate-limit': async (t, folder) => {
    const client = new Client({ url: await startExample(t, folder) })
    const responses = []
    for (let i = 0; i < 4; i++) responses.push(await client.get('/search'))
    t.same(responses.map(({ status }) => status), [200, 200, 200, 429])
    t.equal(responses[0]?.headers.get('x-ratelimit-limit'), '3')
    const { body } = await client.get('/cities')
    t.same((await client.hit('/cities')).body, body)
  }
}

for (const [name, check] of Object.entries(examples)) {
  t.test(`examples/${name} does what its README says`, async (t) => {
    await check(t, copyExample(t, name))
  })
}

t.test('each example is tested, imports what it declares and is started by its README', async (t) => {
  const names = readdirSync(join(root, 'examples'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name)

  t.same(names.sort(), Object.keys(examples).sort())
  for (const name of names) {
    const read = (file: string) => readFileSync(join(root, 'examples', name, file), 'utf8')
    const imported = [...read(name === 'nestjs' ? 'app.ts' : 'app.js').matchAll(/(?:from|import) '((?:@[\w-]+\/)?[\w-]+)(?:\/[\w-]+)*'/g)].map(([, each = '']) => each)
    t.ok(imported.includes('fastify-prism'), name)
    t.same(imported.filter((each) => !dependenciesOf(name).includes(each)), [], name)
    t.match(read('README.md'), /npm install[\s\S]*npm start/)
    t.ok(read('README.md').split('\n').length <= 12, 'about ten lines')
  }
})
