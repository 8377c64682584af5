import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { rules } from '../../service/alerts/rules.ts'
import { buildTestApp } from '../support/app.ts'
import type { TestApp, TestAppOptions } from '../support/app.ts'
import { complaintsOf, noBrowser, pagesOf } from '../support/chromium.ts'
import { startRedis } from '../support/redis.ts'
import type { TestRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

const token = 'a-token-of-the-operator'
const openPage = pagesOf(t)
const needsChromium = { skip: noBrowser }
const shots = process.env.PRISM_SHOTS
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const sizes = [{ width: 1440, height: 900 }, { width: 768, height: 1024 }, { width: 390, height: 844 }]
const build = { version: '1.4.0', commit: '3fa9c1e7d2b4' }

interface Opened { app: TestApp, redis: TestRedis, page: Page, faults: string[] }

/** The service on a Redis of 30 MB, with its dashboard open in a browser. */
async function opened (t: Test, options: TestAppOptions = {}): Promise<Opened> {
  const redis = await startRedis(t, { args: ['--maxmemory', '30mb', '--maxmemory-policy', 'volatile-ttl', '--slowlog-log-slower-than', '1000'] })
  const alerting = { rules: rules.filter(({ of }) => of === 'redis').map((rule) => ({ ...rule, forSeconds: 0.2 })) }
  const app = await buildTestApp(t, { redisUrl: redis.url, adminToken: token, metricsEvery: '200ms', build, alerting, ...options })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const page = await openPage(t, { viewport: sizes[0] ?? null })
  const faults = complaintsOf(page)
  await page.goto(`${app.listeningOrigin}/ops`)
  await page.fill('#token', token)
  await page.click('button')
  await page.waitForSelector('#state[data-state]:not([data-state=waiting])')
  return { app, redis, page, faults }
}

/** Requests of several routes, and one slow command. */
async function makeLoad ({ app, redis }: Opened): Promise<void> {
  for (let round = 0; round < 15; round++) {
    for (const url of ['/cities/2988507', '/cities/2988507', `/cities/${2_988_507 + round}`, '/cities?q=paris', '/healthz/live', '/nowhere']) await app.inject(url)
  }
  await redis.client.eval('local s = 0 for i = 1, 2000000 do s = s + i end return s', 0)
}

/** No complaint of axe, no horizontal overflow of the page or of a table, in each size and colour scheme. With PRISM_SHOTS=folder: screenshots. */
async function checkLooks (t: Test, page: Page, state: string): Promise<void> {
  await page.evaluate(axe)
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const size of sizes) {
      const name = `${state}-${colorScheme}-${size.width}`
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize(size)
      const found: { id: string, nodes: { html: string }[] }[] = await page.evaluate('axe.run().then(({ violations }) => violations)')
      t.same(found.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`), [], `${name}: axe`)
      t.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${name}: no horizontal overflow`)
      t.same(await page.evaluate('[...document.querySelectorAll(".panel")].filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth).map((panel) => panel.getAttribute("aria-labelledby"))'), [], `${name}: no column is cut`)
      if (shots !== undefined) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true })
    }
  }
}

const textOf = async (page: Page, selector: string): Promise<string> => await page.textContent(selector) ?? ''

t.test('while all is well the dashboard shows the process, its routes, the slow log and the last deployment', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const all = await opened(t)
  const { page, faults } = all
  await makeLoad(all)

  await until(async () => /GET \/cities\/:id/.test(await textOf(page, '#routes tbody')), { what: 'the routes' })
  await until(async () => /eval/.test(await textOf(page, '#slow tbody')), { what: 'the slow log' })
  t.match(await textOf(page, '#process'), new RegExp(`^Process ${process.pid} on .+, version 1\\.4\\.0 \\(3fa9c1e\\), up for \\d+ s, the only process$`))
  t.match(await textOf(page, '#routes tbody'), /GET \(no route\)/)
  t.equal(await page.isVisible('#alerts'), false)
  t.equal(await page.locator('[data-unknown]').count(), 0)
  t.match(await textOf(page, 'footer'), 'npm run prism -- doctor')
  await checkLooks(t, page, 'well')
  t.same(faults, [])
})

t.test('a second process of another build is counted', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const { page, redis } = await opened(t)

  await buildTestApp(t, { redisUrl: redis.url, metricsEvery: '200ms', build: { version: '1.5.0', commit: '' } })
  await until(async () => /one of 2 processes with 2 builds$/.test(await textOf(page, '#process')), { what: 'both processes' })
})

t.test('with a full Redis the alert comes first, with name, value, time and runbook', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const all = await opened(t)
  const { page, redis, faults } = all
  await makeLoad(all)
  const fill = redis.client.pipeline()
  for (let index = 0; index < 260; index++) fill.set(`session:{filler${index}}`, 'x'.repeat(100_000), 'EX', 1000 + index * 20)
  await fill.exec()
  await redis.client.config('SET', 'slowlog-log-slower-than', '0') // commands with long names too
  await page.waitForSelector('#alert-list li[data-severity=critical]')
  await until(async () => /evalsha \w+/.test(await textOf(page, '#slow tbody')), { what: 'a script in the slow log' })

  const card = await textOf(page, '#alert-list li')
  t.match(card, /critical · PrismRedisMemoryCritical · since \d\d:\d\d:\d\d/)
  t.match(card, /Now 9[\d.]+ %; the limit is 90 %\./)
  for (const size of sizes) {
    await page.setViewportSize(size)
    const top = await page.evaluate('document.querySelector("#alert-list li").getBoundingClientRect().top + scrollY')
    t.ok(Number(top) < Number(await page.evaluate('document.querySelector("#summary").getBoundingClientRect().top + scrollY')), `above the summary at ${size.width}`)
    t.ok(Number(top) < size.height / 2, `in the first half of the screen at ${size.width}`)
  }
  await checkLooks(t, page, 'full')
  await page.click('#alert-list a')
  await page.waitForSelector('.runbook h1')
  t.equal(await textOf(page, 'h1'), 'Memory is full')
  await page.evaluate(axe)
  t.same(await page.evaluate('axe.run().then(({ violations }) => violations.map(({ id }) => id))'), [])
  t.same(faults, [])
})

t.test('during an outage the last values are shown as unknown since their time, without "yet" and without praise', needsChromium, async (t) => {
  t.setTimeout(300_000)
  const all = await opened(t)
  const { page, redis, faults } = all
  await makeLoad(all)
  await until(async () => /cache/.test(await textOf(page, '#spaces tbody')), { what: 'the namespaces' })
  const [memory, keys] = [await textOf(page, '.tile:nth-child(5) dd'), await textOf(page, '#spaces tbody')]
  t.match(memory, /of 30\.0 MB/)

  await redis.kill()
  await page.waitForSelector('#alert-list li[data-severity=critical]')
  await page.waitForSelector('.tile[data-unknown]')
  await page.reload() // the values are those of the service, not of the page
  await page.waitForSelector('.tile[data-unknown]')

  t.match(await textOf(page, '.tile:nth-child(5) dd'), /^[\d.]+ %unknown since \d\d:\d\d:\d\d$/)
  // A reading between the two may have found other numbers, also in another unit.
  const namesIn = (text: string) => text.replace(/[\d.]+ [KM]?B|\d+/g, '')
  t.equal(namesIn(await textOf(page, '#spaces tbody')), namesIn(keys), 'the namespaces remain')
  t.match(await textOf(page, '.tile:first-child dd'), /unknown since/, 'the hit rate of before is no praise')
  t.match(await textOf(page, '#redis'), /unknown since \d\d:\d\d:\d\d$/)
  t.match(await page.getAttribute('#spaces-title', 'data-unknown'), /^unknown since/)
  t.match(await textOf(page, '#summary'), /^Without Redis: |^No requests/)
  t.match(await textOf(page, '#process'), 'number of processes unknown')
  t.notMatch(await textOf(page, 'body'), /\byet\b/)
  t.notMatch(await page.evaluate('[...document.querySelectorAll(".plot")].map(({ dataset }) => dataset.empty).join()'), /\byet\b/)
  await checkLooks(t, page, 'down')
  t.same(faults, [])
})
