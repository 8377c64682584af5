'use strict'

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { buildApp } = require('./app.js')

let app
before(async () => { app = await buildApp() })
after(() => app.close())

test('a second request is a hit, until the tag is purged', async () => {
  const first = await app.inject('/time')
  let second
  do {
    await pause(10)
    second = await app.inject('/time')
  } while (second.headers['cache-status'].includes('miss'))
  await app.cache.purge('time')
  const third = await app.inject('/time')

  assert.match(second.headers['cache-status'], /hit/)
  assert.equal(third.headers['cache-status'].includes('hit'), false)
  assert.notEqual(third.body, first.body)
})

test('a quota rejects', async () => {
  const statuses = [await app.inject('/limited'), await app.inject('/limited')].map(({ statusCode }) => statusCode)

  assert.deepEqual(statuses, [200, 429])
})

test('a user signs in', async () => {
  const { cookies: [{ name, value }] } = await app.inject({ method: 'POST', url: '/sign-in' })

  assert.equal((await app.inject('/me')).statusCode, 401)
  assert.deepEqual((await app.inject({ url: '/me', cookies: { [name]: value } })).json(), { user: 'ada' })
})
