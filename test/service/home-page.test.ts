import axe from 'axe-core'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildTestApp, type TestApp } from '../support/app.ts'
import { complaintsOf, looks, noBrowser, pagesOf } from '../support/chromium.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(400_000)

const openPage = pagesOf(t)
const needsChromium = { skip: noBrowser }
/** With PRISM_SHOTS=folder: screenshots. */
const shots = process.env.PRISM_SHOTS

interface Opened { app: TestApp, redis: TestRedis, page: Page, faults: string[] }

/** The service with its page open in a browser, and the errors of the page. */
async function opened (t: Test): Promise<Opened> {
  t.setTimeout(300_000)
  const redis = await startRedis(t)
  const app = await buildTestApp(t, { redisUrl: redis.url })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const page = await openPage(t, { viewport: { width: 1280, height: 900 } })
  const faults = complaintsOf(page)
  await page.goto(app.listeningOrigin)
  await until(async () => await textOf(page, '#live') === 'Live', { what: 'the live connection' })
  await until(async () => await textOf(page, '#state') === 'Redis ready', { what: 'the state of Redis' })
  return { app, redis, page, faults }
}

const textOf = async (page: Page, selector: string) => (await page.locator(selector).first().textContent())?.trim() ?? ''
const line = async (page: Page, request: string) => await page.locator('#responses .line', { hasText: request }).first().locator('th, td').allTextContents()
const left = async (page: Page, policy: number) => Number((await page.locator('.bar b').nth(policy).textContent())?.replace(/ of.*|,/g, ''))
const photograph = async (page: Page, name: string) => { if (shots !== undefined) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true, animations: 'disabled' }) }

async function signUp (page: Page, name: string): Promise<void> {
  await page.fill('#name', name)
  await page.fill('#password', 'correct horse')
  await page.click('#sign-in button[value=new]')
  await page.locator('#note').waitFor()
}

t.test('the page searches as the user types, and shows each response with status, Cache-Status, age and latency', needsChromium, async (t) => {
  const { page, faults } = await opened(t)

  await page.locator('#q').pressSequentially('sao pa')
  await page.locator('.city-row', { hasText: 'São Paulo' }).first().waitFor()
  await page.locator('.city-row', { hasText: 'São Paulo' }).first().click()
  await until(async () => (await line(page, 'GET /cities/3448439'))[2] === 'fwd=miss; stored', { what: 'the miss' })
  t.equal(await textOf(page, '#reader-title .city'), 'São Paulo')
  await page.click('#read')
  await until(async () => /^hit; ttl=\d+$/.test((await line(page, 'GET /cities/3448439'))[2] ?? ''), { what: 'the hit' })

  const [, status, , age, latency, what] = await line(page, 'GET /cities/3448439')
  t.equal(status, '200')
  t.match(age, /^\d+ s$/)
  t.match(latency, /^[\d.]+ m?s$/)
  t.match(what, /^From Redis, stored \d+ seconds? ago and fresh for \d+ seconds more: the handler did not run\.$/)
  await page.fill('#q', 'xyzzyx')
  await until(async () => await textOf(page, '#found') === 'No city begins with “xyzzyx”.', { what: 'the empty result' })
  t.same(faults, [])
})

t.test('the page shows a budget that drains and refills, and after 429 the time to wait', needsChromium, async (t) => {
  const { page, faults } = await opened(t)
  await until(async () => await left(page, 1) === 10, { what: 'the whole budget' })

  await page.evaluate("setInterval(() => document.getElementById('random').click(), 5)")
  await until(async () => /^Wait \d+ s$/.test(await textOf(page, '#random')), { what: 'the time to wait' })
  t.equal(await left(page, 1), 0)
  t.match(await textOf(page, '.bar[data-state=empty] small'), /^Used up: more in \d+ seconds?$/)
  await until(async () => /^Quota used up, rejected before the handler: wait \d+ seconds?\.$/.test((await line(page, '429'))[5] ?? ''), { what: 'the line of the rejection, which the page draws again at each response' })
  t.ok(await left(page, 0) < 1000)
  await photograph(page, 'budget')
  t.same(faults.filter((fault) => !fault.includes('429')), [])
})

t.test('the page\'s budget refills by itself, and the button works again', needsChromium, async (t) => {
  const { page } = await opened(t)
  await until(async () => await left(page, 1) === 10, { what: 'the whole budget' })
  for (let index = 0; index < 11; index++) await page.locator('#random').dispatchEvent('click')
  await until(async () => await left(page, 1) < 10, { what: 'a drained budget' })

  await until(async () => await left(page, 1) === 10, { what: 'the refilled budget', deadlineMs: 30_000 })
  await until(async () => await textOf(page, '#random') === 'Surprise me', { what: 'the button' })
  await page.click('#random')
  await until(async () => await left(page, 1) === 9, { what: 'another city' })
  await until(async () => (await line(page, 'GET /cities/random'))[1] === '200', { what: 'its line' })
})

t.test('a note that one client writes reaches the other panel by purge and event', needsChromium, async (t) => {
  const { page, faults } = await opened(t)
  await until(async () => await page.locator('#steps li').count() > 0, { what: 'the city is read' })
  await signUp(page, 'Ada')

  await page.fill('#text', 'worth <b>the detour</b>')
  await page.click('#note button')
  await page.locator('#notes li', { hasText: 'worth <b>the detour</b>' }).waitFor()

  const steps = (await page.locator('#steps li').allTextContents()).join('\n')
  t.match(steps, /event city\.noted: Ada has written/)
  t.match(steps.split('\n')[0], /GET \/cities\/2988507: miss, the handler ran/)
  t.equal(await page.inputValue('#text'), '')
  await page.reload()
  await page.locator('#note').waitFor()
  t.equal(await textOf(page, '#who'), 'Ada')
  await page.click('#sign-out')
  await page.locator('#sign-in').waitFor()
  await until(async () => await textOf(page, '#live') === 'Live', { what: 'a live connection without the session' })
  t.same(faults, [])
})

t.test('the page says what to do after 401, with Redis down, and without the service, and goes on by itself', needsChromium, async (t) => {
  const { app, redis, page } = await opened(t)
  await signUp(page, 'Bob')
  await app.sessions.revokeAll(String((await app.redis.keys('*session:*'))[0]?.match(/\{([^}]+)\}/)?.[1]))
  await page.fill('#text', 'too late')
  await page.click('#note button')
  await until(async () => await textOf(page, '#note-fault') === 'You are not signed in any more (401). Sign in again.', { what: 'the 401' })
  t.ok(await page.isVisible('#sign-in'))

  await redis.stop()
  await page.locator('#outage').waitFor()
  t.equal(await textOf(page, '#state'), 'Redis unavailable')
  t.match(await textOf(page, '#outage'), /Nothing listens.*Searches and cities are still served: the cache is bypassed/)
  await page.fill('#q', 'lyon')
  await page.locator('.city-row', { hasText: 'Lyon' }).first().waitFor()
  await until(async () => /bypass/.test((await line(page, 'GET /cities?q=lyon'))[2] ?? ''), { what: 'the bypass' })
  await page.fill('#password', 'correct horse')
  await page.click('#sign-in button')
  await until(async () => await textOf(page, '#note-fault') === 'Without Redis sessions cannot be read or changed (503). Try again when it is back.', { what: 'the 503' })
  await photograph(page, 'outage')
  await redis.restart()
  await page.locator('#outage').waitFor({ state: 'hidden', timeout: 30_000 })
  t.equal(await textOf(page, '#state'), 'Redis ready')

  await page.route('**/*', async (route) => await route.abort())
  await until(async () => await textOf(page, '#state') === 'No connection', { what: 'the lost service' })
  t.match(await textOf(page, '#outage'), /cannot be reached since \d\d:\d\d:\d\d/)
})

t.test('the page works by keyboard, and has no accessibility finding in light, dark and on a phone', needsChromium, async (t) => {
  const { page, faults } = await opened(t)
  const focused = async () => await page.evaluate('document.activeElement.id || document.activeElement.textContent')

  await page.keyboard.press('Tab')
  t.equal(await page.evaluate('document.activeElement.className'), 'skip')
  while (await focused() !== 'q') await page.keyboard.press('Tab')
  await page.keyboard.type('new yo')
  await page.locator('.city-row', { hasText: 'New York City' }).waitFor()
  await page.keyboard.press('ArrowDown')
  t.match(await focused(), 'New York City')
  await page.keyboard.press('Enter')
  await until(async () => await textOf(page, '#note-title .city') === 'New York City', { what: 'the city' })
  await page.keyboard.press('ArrowUp')
  t.equal(await focused(), 'q')
  while (await focused() !== 'name') await page.keyboard.press('Tab')
  await page.keyboard.type('Carol')
  await page.keyboard.press('Tab')
  await page.keyboard.type('correct horse')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await until(async () => await focused() === 'text', { what: 'the focus is in the note' })
  await page.keyboard.type('by keyboard')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.locator('#notes li', { hasText: 'by keyboard' }).waitFor()

  await page.evaluate(axe.source)
  for (const { name, colorScheme, size } of looks) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize(size)
    await until(async () => await page.evaluate('document.getAnimations().length') === 0, { what: 'no animation' })
    const { violations } = await page.evaluate<AxeResults>('axe.run()')
    t.same(violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`), [], name)
    t.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${name}: no horizontal overflow`)
    await photograph(page, name)
  }
  t.same(faults, [])
})

t.test('GET /docs shows every route in the browser, offline and without errors of its policy', needsChromium, async (t) => {
  const { app, page } = await opened(t)
  const faults = complaintsOf(page)
  const hosts = new Set<string>()
  page.on('request', (request) => hosts.add(new URL(request.url()).host))

  await page.goto(`${app.listeningOrigin}/docs`)
  await page.locator('.opblock').first().waitFor()
  const routes = (await page.locator('.opblock-summary-path').allTextContents()).map((text) => text.replaceAll('\u200b', '').trim())
  for (const route of ['/cities', '/cities/{id}/notes', '/session', '/budget']) t.ok(routes.includes(route), route)
  await page.locator('.opblock', { hasText: '/budget' }).first().click()
  await page.click('.opblock.is-open button.execute')
  await until(async () => /"limits"/.test(await textOf(page, '.responses-table.live-responses-table')), { what: 'the response of a tried-out request' })

  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    const ground = colorScheme === 'dark' ? 'rgb(10, 12, 17)' : 'rgb(244, 245, 249)'
    await until(async () => await page.evaluate('getComputedStyle(document.body).backgroundColor') === ground, { what: `the ${colorScheme} theme` })
    await photograph(page, `docs-${colorScheme}`)
  }
  t.same([...hosts], [new URL(app.listeningOrigin).host], 'no other host is contacted')
  t.same(faults, [])
})
