import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { rules } from '../../service/alerts/rules.ts'
import { buildTestApp } from '../support/app.ts'
import type { TestApp, TestAppOptions } from '../support/app.ts'
import { complaintsOf, looks, noBrowser, pagesOf } from '../support/chromium.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { untilHit } from '../support/signed-in-client.ts'

const token = 'a-token-of-the-operator'
const openPage = pagesOf(t)
const needsChromium = { skip: noBrowser }
const shots = process.env.PRISM_SHOTS
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

t.test('the dashboard does not exist in production without a token', async (t) => {
  const app = await buildTestApp(t, { production: true })

  for (const url of ['/ops', '/ops/feed', '/ops/page.js']) t.equal((await app.inject(url)).statusCode, 404, url)
  t.equal((await app.inject({ method: 'POST', url: '/ops/session', payload: { token } })).statusCode, 404)
  for (const method of ['DELETE', 'OPTIONS'] as const) t.equal((await app.inject({ method, url: '/ops/feed' })).statusCode, 404, method)
})

t.test('the dashboard shows only its sign-in page without a token, and sets a cookie for half an hour', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  const signIn = await app.inject('/ops')
  const wrong = await app.inject({ method: 'POST', url: '/ops/session', payload: { token: 'another' } })
  const right = await app.inject({ method: 'POST', url: '/ops/session', payload: { token } })
  const cookie = String(right.headers['set-cookie'])
  const inside = await app.inject({ url: '/ops', headers: { cookie: cookie.split(';')[0] } })
  const forged = await app.inject({ url: '/ops', headers: { cookie: `${cookie.split(';')[0]}x` } })

  t.match(signIn.body, 'Sign in')
  t.equal((await app.inject('/ops/feed')).statusCode, 401)
  t.equal((await app.inject({ method: 'POST', url: '/ops/purge', payload: { tags: ['cities'] } })).statusCode, 401)
  t.equal(wrong.statusCode, 401)
  t.equal(right.statusCode, 204)
  t.match(cookie, /Path=\/ops; Max-Age=1800; HttpOnly; SameSite=Strict$/)
  t.match((await app.inject({ method: 'POST', url: '/ops/session', payload: { token }, headers: { 'x-forwarded-proto': 'https' } })).headers['set-cookie'], /; Secure$/)
  t.match(inside.body, 'The last hour')
  t.match(inside.headers['content-security-policy'], "default-src 'none'")
  t.match(forged.body, 'Sign in')
})

t.test('the dashboard rejects repeated attempts, and other origins', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  const post = async (headers = {}) => (await app.inject({ method: 'POST', url: '/ops/session', payload: { token: 'another' }, headers })).statusCode

  t.equal(await post({ origin: 'https://elsewhere.example' }), 403)
  await until(async () => await post() === 429, { what: 'a rejection' })
})

t.test('the dashboard requires the token for a test alert, and reports why Redis is unusable', async (t) => {
  const redis = await startRedis(t)
  const app = await buildTestApp(t, { adminToken: token, metricsEvery: '100ms', redisUrl: redis.url })
  const headers = { authorization: `Bearer ${token}` }
  await redis.kill()
  await until(() => app.redisPool.reason?.code === 'connection_refused', { what: 'the reason' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const feed = await fetch(`${app.listeningOrigin}/ops/feed`, { headers })

  t.equal((await app.inject({ method: 'POST', url: '/ops/alert-test', payload: {} })).statusCode, 401)
  t.same((await app.inject({ method: 'POST', url: '/ops/alert-test', payload: {}, headers })).json(), { webhook: 'none' })
  let text = ''
  for await (const chunk of feed.body ?? []) if (/"unusable":\{[^}]*"code":"connection_refused"/.test(text += Buffer.from(chunk).toString())) break
  t.match(text, `Nothing listens at 127.0.0.1:${redis.port}`)
})

/** The service with its dashboard open in a browser, and the errors of the page. */
async function opened (t: Test, options: TestAppOptions = {}): Promise<{ app: TestApp, page: Page, faults: string[] }> {
  const app = await buildTestApp(t, { adminToken: token, metricsEvery: '200ms', ...options })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const page = await openPage(t, { viewport: { width: 1280, height: 900 } })
  const faults = complaintsOf(page)
  await page.goto(`${app.listeningOrigin}/ops`)
  if (shots !== undefined) await page.screenshot({ path: `${shots}/sign-in.png` })
  await page.fill('#token', token)
  await page.click('button')
  await page.waitForSelector('#state[data-state]:not([data-state=waiting])')
  return { app, page, faults }
}

t.test('the dashboard shows the load of the test, without errors of the page or its policy', needsChromium, async (t) => {
  t.setTimeout(100_000)
  const redis = await startRedis(t, { args: ['--maxmemory', '30mb', '--maxmemory-policy', 'volatile-ttl'] })
  const memory = rules.filter(({ signal }) => signal === 'memoryShare')
  const { app, page, faults } = await opened(t, { redisUrl: redis.url, alerting: { rules: memory.map((rule) => ({ ...rule, forSeconds: 0.2 })) } })
  t.match(await page.textContent('#state'), 'Healthy')

  const became = { hit: 0, miss: 0 }
  for (let index = 0; index < 60; index++) {
    const { headers } = await app.inject({ url: index % 5 === 0 ? `/cities/${2_988_507 + index}` : '/cities/2988507' })
    became[/; hit/.test(String(headers['cache-status'])) ? 'hit' : 'miss'] += 1
  }
  await until(async () => await page.textContent('.tile:first-child dd') === `${(became.hit / 60 * 100).toFixed(1).replace('.0', '')} %of cached routes`, { what: `${became.hit} hits of 60 as the hit rate` })
  let refused = 0
  for (let index = 0; index < 35; index++) refused += Number((await app.inject({ method: 'PUT', url: '/cities/2988507/notes', payload: { text: 'x' } })).statusCode === 429)
  await until(async () => (await page.textContent('#rejected tbody'))?.endsWith(`writes${refused}`), { what: 'the rejected clients' })
  t.match(await page.textContent('#rejected tbody'), `127.0.0.0/24writes${refused}`)
  await until(async () => /cache/.test(await page.textContent('#spaces tbody') ?? ''), { what: 'the namespaces' })

  const fill = redis.client.pipeline()
  for (let index = 0; index < 255; index++) fill.set(`session:{filler${index}}`, 'x'.repeat(100_000), 'EX', 1000 + index * 20)
  await fill.exec()
  await page.waitForSelector('#alert-list li[data-severity=critical]')
  t.match(await page.textContent('#alert-list'), 'Redis uses more than 90 % of its memory')
  t.equal(await page.textContent('#state'), '1 alert', 'the alert at 90 % replaces the one at 80 %')
  t.equal(await page.getAttribute('.tile:nth-child(5)', 'data-state'), 'wrong')
  const [used, share] = [Number(/used_memory:(\d+)/.exec(await redis.client.info('memory'))?.[1]), await page.textContent('.tile:nth-child(5) dd')]
  t.ok(Math.abs(used / 30 / 1024 / 1024 * 100 - Number.parseFloat(share ?? '')) < 5, `${used} is shown as ${share}`)

  await photograph(page, app)
  await page.evaluate(axe)
  for (const look of looks) {
    await page.emulateMedia({ colorScheme: look.colorScheme })
    await page.setViewportSize(look.size)
    const found: { id: string, impact: string, nodes: { html: string }[] }[] = await page.evaluate('axe.run().then(({ violations }) => violations)')
    t.same(found.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`), [], look.name)
    t.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${look.name}: no horizontal overflow`)
  }
  t.same(faults, [])
})

t.test('the dashboard purges by tag after a confirmation', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const { app, page } = await opened(t)
  const read = async () => await app.inject('/cities/2988507')
  await untilHit(read)

  await page.fill('#tag', 'city:2988507')
  await page.click('#purge button')
  await page.click('#confirm button[value=no]')
  t.match((await read()).headers['cache-status'], 'hit')
  await page.click('#purge button')
  await page.click('#confirm button[value=yes]')
  await until(async () => await page.textContent('#purged'), { what: 'the result' })

  t.match(await page.textContent('#purged'), 'Purged city:2988507')
  t.notMatch((await read()).headers['cache-status'], 'hit')
})

t.test('the dashboard shows what is stored for a URL, and purges it after a confirmation', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const { app, page, faults } = await opened(t)
  await untilHit(async () => await app.inject('/cities/2988507'))

  await page.fill('#url', '/cities/2988507')
  await page.click('#look button')
  await page.click('#confirm button[value=no]')
  t.equal(await page.isVisible('#entry'), false)
  await page.click('#look button')
  await page.click('#confirm button[value=yes]')
  await page.waitForSelector('#entry .facts')
  const shown = await page.textContent('#entry') ?? ''
  if (shots !== undefined) await page.locator('.tools').first().screenshot({ path: `${shots}/entry.png` })
  await page.fill('#url', '/healthz/live')
  await page.click('#look button')
  await page.click('#confirm button[value=yes]')
  await until(async () => /No cached route/.test(await page.textContent('#looked') ?? ''), { what: 'the other result' })

  for (const part of ['200, fresh', 'Fresh for', 'city:2988507', 'content-type']) t.match(shown, part)
  t.notMatch(shown, 'Paris') // never the body
  t.equal(await page.isVisible('#entry'), false)
  t.same(faults, [])
})

t.test('the dashboard has headings and accessible names, and works by keyboard', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const { app, page, faults } = await opened(t, { alerting: { rules: [] } })
  const read = async () => await app.inject('/cities/2988507')
  await untilHit(read)
  await page.reload()
  await page.waitForSelector('#state[data-state]:not([data-state=waiting])')

  const outline = await page.locator('body').ariaSnapshot()
  for (const part of ['heading "fastify-prism" [level=1]', 'heading "The last hour" [level=2]', 'status: Healthy', 'textbox "Purge stored responses by tag"', 'table', 'columnheader "Keys"']) t.ok(outline.includes(part), part)
  t.match(outline, /img "hits /)

  await page.keyboard.press('Tab')
  t.equal(await page.evaluate('document.activeElement.className'), 'skip')
  await page.keyboard.press('Enter')
  t.equal(await page.evaluate('document.activeElement.id'), 'main')
  while (await page.evaluate('document.activeElement.id') !== 'tag') await page.keyboard.press('Tab')
  await page.keyboard.type('city:2988507')
  await page.keyboard.press('Enter')
  await page.waitForSelector('#confirm[open]')
  t.equal(await page.evaluate('document.activeElement.id'), 'decline', 'the harmless choice has the focus')
  if (shots !== undefined) await page.screenshot({ path: `${shots}/dialog.png` })
  await page.keyboard.press('Escape')
  await page.waitForSelector('#confirm:not([open])', { state: 'attached' })
  t.match((await read()).headers['cache-status'], 'hit')
  t.equal(await page.evaluate('document.activeElement.id'), 'tag', 'the focus returns')
  await page.keyboard.press('Enter')
  await page.waitForSelector('#confirm[open]')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await until(async () => await page.textContent('#purged') === 'Purged city:2988507.', { what: 'the result' })

  t.notMatch((await read()).headers['cache-status'], 'hit')
  t.same(faults, [])
})

t.test('the dashboard explains empty charts and tables', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const { page, faults } = await opened(t)

  await until(async () => /No requests|0 requests|per second/.test(await page.textContent('#summary') ?? ''), { what: 'a summary' })
  t.match(await page.textContent('#rejected tbody'), 'No rejected requests.')
  t.match(await page.getAttribute('.plot', 'data-empty'), /^No requests to cached routes$/)
  t.same(faults, [])
  if (shots !== undefined) await page.screenshot({ path: `${shots}/empty.png`, fullPage: true })
})

t.test('the dashboard\'s entry lookup requires the token', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  await untilHit(async () => await app.inject('/cities/2988507'))
  const send = async (headers: Record<string, string>, payload: object = { url: '/cities/2988507' }) => await app.inject({ method: 'POST', url: '/ops/entry', payload, headers })
  const authorization = `Bearer ${token}`

  t.equal((await send({})).statusCode, 401)
  t.equal((await send({ authorization, origin: 'https://elsewhere.example' })).statusCode, 403)
  t.equal((await send({ authorization }, { url: 'cities' })).statusCode, 400)
  t.match((await send({ authorization })).json(), { found: 'fresh', route: '/cities/:id', status: 200 })
})

/** With PRISM_SHOTS=folder: screenshots after a while of load. */
async function photograph (page: Page, app: TestApp): Promise<void> {
  if (shots === undefined) return
  for (let round = 0; round < 60; round++) {
    const count = Math.round(6 + 4 * Math.sin(round / 5) + 3 * Math.random())
    for (let index = 0; index < count; index++) await app.inject(index % 9 === 0 ? `/cities/${2_988_600 + round * 9}` : index % 7 === 0 ? '/healthz/live' : '/cities?q=paris')
    if (round % 3 === 0) await app.events.publish('alerts', { type: 'alert', data: {} })
    await page.waitForTimeout(150)
  }
  for (const { name, colorScheme, size } of looks) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize(size)
    await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true })
  }
}
