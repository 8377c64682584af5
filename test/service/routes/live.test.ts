import axe from 'axe-core'
import type { AxeResults } from 'axe-core'
import { statSync } from 'node:fs'
import t from 'tap'
import { complaintsOf, noBrowser, pagesOf } from '../../support/chromium.ts'
import { testDatabase } from '../../support/app.ts'
import { freePort } from '../../support/ports.ts'
import { startRedis } from '../../support/redis.ts'
import { startService } from '../../support/service.ts'
import { until } from '../../support/until.ts'

const openPage = pagesOf(t)

/** A user of the service, over plain HTTP. */
async function person (url: string, name: string) {
  const send = async (method: string, path: string, body: unknown, cookie = '') => await fetch(url + path, { method, headers: { 'content-type': 'application/json', cookie }, body: JSON.stringify(body) })
  await send('POST', '/users', { name, password: 'correct horse' })
  const response = await send('POST', '/session', { name, password: 'correct horse' })
  const cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  return { note: async (city: number, text: string, at = url) => await fetch(`${at}/cities/${city}/notes`, { method: 'PUT', headers: { 'content-type': 'application/json', cookie }, body: JSON.stringify({ text }) }) }
}

t.test('the live page\'s client is smaller than 3 kB', async (t) => {
  t.ok(statSync(new URL('../../../src/live/client.js', import.meta.url)).size < 3000)
})

t.test('the live page shows notes as they are written, and after a restart of the service', { skip: noBrowser }, async (t) => {
  const environment = { REDIS_URL: (await startRedis(t)).url, DATABASE_PATH: testDatabase(t), PORT: String(await freePort()) }
  const service = await startService(t, environment)
  const ann = await person(service.url, 'Ann')
  const bob = await person(service.url, 'Bob')
  await ann.note(2988507, 'first')
  const page = await openPage(t)
  const complaints = complaintsOf(page)
  const texts = async () => await page.locator('li p').allTextContents()
  const isOpen = async () => await page.locator('.light[data-state=open]').count() === 1

  await page.goto(`${service.url}/cities/2988507/live`)
  await until(async () => (await texts()).join() === 'first', { what: 'the existing note' })
  t.equal(await page.locator('h1').textContent(), 'Paris')
  await bob.note(2988507, '<b>bold</b>')
  await until(async () => (await texts()).join() === '<b>bold</b>,first', { what: 'the new note' })
  await bob.note(2988508, 'of another city')
  await ann.note(2988507, 'changed')
  await until(async () => (await texts()).join() === 'changed,<b>bold</b>', { what: 'the note that replaced the first' })
  t.same(complaints, [])

  const other = await startService(t, { ...environment, PORT: '0' })
  await service.stop()
  await until(async () => !await isOpen(), { what: 'the light is off' })
  await bob.note(2988507, 'while away', other.url)
  await startService(t, environment)
  await until(isOpen, { what: 'the light is on again', deadlineMs: 40_000 })
  await until(async () => (await texts()).join() === 'while away,changed', { what: 'the missed notes' })
})

t.test('the live page works by keyboard, in dark mode, and with a screen reader', { skip: noBrowser }, async (t) => {
  const service = await startService(t)
  const page = await openPage(t)
  const complaints = complaintsOf(page)
  await page.goto(`${service.url}/cities/2988507/live`)
  await until(async () => await page.locator('.light').textContent() === 'Live', { what: 'the light is on' })

  await page.keyboard.press('Tab')
  await page.keyboard.type('Carol')
  await page.keyboard.press('Tab')
  await page.keyboard.type('correct horse')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.locator('#note').waitFor()
  await until(async () => await page.locator('.light').textContent() === 'Live', { what: 'the light is on' })
  await page.keyboard.press('Tab')
  await page.keyboard.type('by keyboard')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.locator('li', { hasText: 'by keyboard' }).waitFor()
  await until(async () => await page.evaluate('document.getAnimations().length') === 0, { what: 'the animation has ended' })

  const paper = async () => await page.evaluate('getComputedStyle(document.body).backgroundColor')
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    t.equal(await paper(), colorScheme === 'light' ? 'rgb(250, 249, 246)' : 'rgb(22, 24, 28)')
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate<AxeResults>('axe.run()')
    t.same(violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => html) })), [], `${colorScheme}: no violation`)
  }
  if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT, fullPage: true })
  t.same(complaints, [])
})
