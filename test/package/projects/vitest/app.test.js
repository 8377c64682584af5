import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildApp } from './app.js'

let app
beforeAll(async () => { app = await buildApp() })
afterAll(() => app.close())

test('a second request is a hit, until the tag is purged', async () => {
  const first = await app.inject('/time')
  let second
  do {
    await pause(10)
    second = await app.inject('/time')
  } while (second.headers['cache-status'].includes('miss'))
  await app.cache.purge('time')
  const third = await app.inject('/time')

  expect(second.headers['cache-status']).toMatch(/hit/)
  expect(third.headers['cache-status']).not.toMatch(/hit/)
  expect(third.body).not.toBe(first.body)
})

test('a quota rejects', async () => {
  const statuses = [await app.inject('/limited'), await app.inject('/limited')].map(({ statusCode }) => statusCode)

  expect(statuses).toEqual([200, 429])
})

test('a user signs in', async () => {
  const { cookies: [{ name, value }] } = await app.inject({ method: 'POST', url: '/sign-in' })

  expect((await app.inject('/me')).statusCode).toBe(401)
  expect((await app.inject({ url: '/me', cookies: { [name]: value } })).json()).toEqual({ user: 'ada' })
})
