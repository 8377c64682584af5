import { test } from 'tap'
import { Tombstones } from '../../../src/session/tombstones.ts'
import { until } from '../../support/until.ts'

test('graves', async (t) => {
  const told: string[] = []
  let isAway = false
  const open = () => new Tombstones(async (key, fields) => {
    if (isAway) throw new Error('away')
    told.push(...fields.map((field) => `${key} ${field}`))
  })

  t.test('know who has ended, until they would have', async (t) => {
    const tombstones = open()
    tombstones.add('k', 'short', 20)
    tombstones.add('k', 'long', 60_000)

    t.equal(tombstones.has({ key: 'k', field: 'long' }), true)
    t.equal(tombstones.has({ key: 'k', field: 'other' }), false)
    await until(() => !tombstones.has({ key: 'k', field: 'short' }), { what: 'the short one is forgotten' })
  })

  t.test('tell all of it to a server that may not know', async (t) => {
    const tombstones = open()
    for (let count = 0; count < 250; count++) tombstones.add('k', `f${count}`, 60_000)
    told.length = 0
    await tombstones.republish()

    t.equal(new Set(told).size, 250)
    t.equal(told.length, 250)
  })

  t.test('keep the last ten thousand', async (t) => {
    const tombstones = open()
    for (let count = 0; count < 10_001; count++) tombstones.add('k', `f${count}`, 60_000)

    t.equal(tombstones.has({ key: 'k', field: 'f0' }), false)
    t.equal(tombstones.has({ key: 'k', field: 'f1' }), true)
  })

  t.test('are not pushed out by what an outage leaves to do, however much that is', async (t) => {
    const tombstones = open()
    t.after(() => { tombstones.close() })
    tombstones.add('k', 'signed out', 60_000)
    told.length = 0
    for (let count = 0; count < 20_000; count++) tombstones.retryRevoke('k', `begun ${count}`)
    t.equal(tombstones.has({ key: 'k', field: 'signed out' }), true)
    await tombstones.republish()

    t.equal(told.length, 10_001)
  })

  t.test('tell the rest though one cannot be told', async (t) => {
    const heard: string[] = []
    const tombstones = new Tombstones(async (_key, [field = '']) => {
      if (field === 'f0') throw new Error('WRONGTYPE')
      heard.push(field)
    })
    t.after(() => { tombstones.close() })
    for (let count = 0; count < 250; count++) tombstones.add('k', `f${count}`, 60_000)
    await tombstones.republish()

    t.equal(heard.length, 249)
  })

  t.test('end what is owed as soon as Redis can be asked', async (t) => {
    const tombstones = open()
    t.after(() => { tombstones.close() })
    isAway = true
    told.length = 0
    tombstones.add('k', 'owed', 60_000)
    tombstones.retryRevoke('k', 'owed')
    await tombstones.republish()
    t.same([told.length, tombstones.has({ key: 'k', field: 'owed' })], [0, true])
    isAway = false

    await until(() => told.includes('k owed'), { what: 'it is told' })
  })
})
