import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { reached } from '../support/wait-for-redis.ts'
import { redisUrl } from './support/app.ts'
import { Client } from './support/client.ts'

const root = join(import.meta.dirname, '../..')
const sources: Record<string, string> = { "'fastify-prism'": 'plugins/index.ts', "'fastify-prism/session'": 'plugins/standalone/session.ts' }

/** The app of docs/sessions.md, listening. */
async function start (t: Test, sessionPlugin: string): Promise<string> {
  const [, block = ''] = /^```ts\n(import csrf.*?)^```$/ms.exec(readFileSync(join(root, 'docs/sessions.md'), 'utf8')) ?? []
  const text = Object.entries(sources).reduce((part, [name, file]) => part.replaceAll(name, `'${pathToFileURL(join(root, file)).href}'`), block)
  const folder = mkdtempSync(join(tmpdir(), 'prism-sessions-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  symlinkSync(join(import.meta.dirname, 'node_modules'), join(folder, 'node_modules'), 'dir')
  writeFileSync(join(folder, 'app.ts'), `${text.replace("'@fastify/secure-session' })", `'${sessionPlugin}' })`)}\nexport { app }\n`)
  process.env.REDIS_URL = redisUrl
  process.env.SESSION_SECRET = 'a secret of the tests: 32 or more'
  const { app }: { app: FastifyInstance } = await import(pathToFileURL(join(folder, 'app.ts')).href)
  t.after(() => app.close())
  await reached(app)
  return await app.listen({ port: 0, host: '127.0.0.1' })
}

for (const sessionPlugin of ['@fastify/secure-session', '@fastify/session']) {
  t.test(`docs/sessions.md: passport and csrf-protection for ${sessionPlugin} work with the adapter, and end sessions at login and logout`, async (t) => {
    const url = await start(t, sessionPlugin)
    const [ada, bob] = [new Client({ url }), new Client({ url })]

    t.equal((await ada.post('/login')).status, 401)
    const { body: { token: early } } = await ada.get('/form')
    t.equal((await ada.post('/login?name=ada')).status, 200)
    t.equal((await bob.post('/login?name=bob')).status, 200)
    const { body: form } = await ada.get('/form')
    t.equal(form.user, 'ada')
    t.equal((await bob.get('/form')).body.user, 'bob')

    const transfer = async (client: Client, token: string) => (await client.post('/transfer', { headers: { 'csrf-token': token } })).status
    t.equal(await transfer(ada, form.token), 200)
    t.equal(await transfer(ada, early), 403, 'a token from before the login')
    t.equal(await transfer(bob, form.token), 403, 'a token of another user')

    t.equal((await ada.post('/logout')).status, 200)
    t.equal((await ada.get('/form')).body.user, null)
    t.equal(await transfer(ada, form.token), 401)
    t.equal((await bob.get('/form')).body.user, 'bob')
  })
}
