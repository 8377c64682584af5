import { test } from 'tap'
import { Tombstones } from '../../../src/session/tombstones.ts'
import { until } from '../../support/until.ts'

test('tombstones', async (t) => {
  const sent: string[] = []
  let isAway = false
  const open = () => new Tombstones(async (key, fields) => {
    if (isAway) throw new Error('away')
    sent.push(...fields.map((field) => `${key} ${field}`))
  })

  t.test('contain an ended session until it would have expired', async (t) => {
    const tombstones = open()
    tombstones.add('k', 'short', 20)
    tombstones.add('k', 'long', 60_000)

    t.equal(tombstones.has({ key: 'k', field: 'long' }), true)
    t.equal(tombstones.has({ key: 'k', field: 'other' }), false)
    await until(() => !tombstones.has({ key: 'k', field: 'short' }), { what: 'the short one has expired' })
  })

  t.test('are all sent to a server that may not know them', async (t) => {
    const tombstones = open()
    for (let count = 0; count < 250; count++) tombstones.add('k', `f${count}`, 60_000)
    sent.length = 0
    await tombstones.republish()

    t.equal(new Set(sent).size, 250)
    t.equal(sent.length, 250)
  })

  t.test('are limited to the last ten thousand', async (t) => {
    const tombstones = open()
    for (let count = 0; count < 10_001; count++) tombstones.add('k', `f${count}`, 60_000)

    t.equal(tombstones.has({ key: 'k', field: 'f0' }), false)
    t.equal(tombstones.has({ key: 'k', field: 'f1' }), true)
  })

  t.test('are not evicted by revocations that an outage delays, however many', async (t) => {
    const tombstones = open()
    t.after(() => { tombstones.close() })
    tombstones.add('k', 'signed out', 60_000)
    sent.length = 0
    for (let count = 0; count < 20_000; count++) tombstones.retryRevoke('k', `begun ${count}`)
    t.equal(tombstones.has({ key: 'k', field: 'signed out' }), true)
    await tombstones.republish()

    t.equal(sent.length, 10_001)
  })

  t.test('are sent to a new server although the one before confirms them after the change', async (t) => {
    const replies: (() => void)[] = []
    const tombstones = new Tombstones(async () => { await new Promise<void>((resolve) => replies.push(resolve)) })
    t.after(() => { tombstones.close() })
    for (let count = 0; count < 150; count++) tombstones.add('k', `f${count}`, 60_000)
    const first = tombstones.republish()
    await until(() => replies.length === 100, { what: 'the first hundred are under way' })
    await tombstones.republish() // another server is connected

    let confirmed = 0
    const confirm = async (total: number) => {
      await until(() => replies.length === total, { what: `${total} were sent` })
      for (const reply of replies.slice(confirmed)) reply()
      confirmed = total
    }
    await confirm(100) // by the server before
    await confirm(150)
    await confirm(250)
    await confirm(300)
    await first
    t.equal(replies.length, 300)
  })

  t.test('are sent even if one of them fails', async (t) => {
    const received: string[] = []
    const tombstones = new Tombstones(async (_key, [field = '']) => {
      if (field === 'f0') throw new Error('WRONGTYPE')
      received.push(field)
    })
    t.after(() => { tombstones.close() })
    for (let count = 0; count < 250; count++) tombstones.add('k', `f${count}`, 60_000)
    await tombstones.republish()

    t.equal(received.length, 249)
  })

  t.test('are retried once Redis is reachable', async (t) => {
    const tombstones = open()
    t.after(() => { tombstones.close() })
    isAway = true
    sent.length = 0
    tombstones.add('k', 'owed', 60_000)
    tombstones.retryRevoke('k', 'owed')
    await tombstones.republish()
    t.same([sent.length, tombstones.has({ key: 'k', field: 'owed' })], [0, true])
    isAway = false

    await until(() => sent.includes('k owed'), { what: 'it is sent' })
  })
})
