import { test } from 'tap'
import { Graves } from '../../../src/session/graves.ts'
import { until } from '../../helpers/until.ts'

test('graves', async (t) => {
  const told: string[] = []
  let isAway = false
  const open = () => new Graves(async (key, fields) => {
    if (isAway) throw new Error('away')
    told.push(...fields.map((field) => `${key} ${field}`))
  })

  t.test('know who has ended, until they would have', async (t) => {
    const graves = open()
    graves.bury('k', 'short', 20)
    graves.bury('k', 'long', 60_000)

    t.equal(graves.has({ key: 'k', field: 'long' }), true)
    t.equal(graves.has({ key: 'k', field: 'other' }), false)
    await until(() => !graves.has({ key: 'k', field: 'short' }), { what: 'the short one is forgotten' })
  })

  t.test('tell all of it to a server that may not know', async (t) => {
    const graves = open()
    for (let count = 0; count < 250; count++) graves.bury('k', `f${count}`, 60_000)
    told.length = 0
    await graves.retell()

    t.equal(new Set(told).size, 250)
    t.equal(told.length, 250)
  })

  t.test('keep the last ten thousand', async (t) => {
    const graves = open()
    for (let count = 0; count < 10_001; count++) graves.bury('k', `f${count}`, 60_000)

    t.equal(graves.has({ key: 'k', field: 'f0' }), false)
    t.equal(graves.has({ key: 'k', field: 'f1' }), true)
  })

  t.test('are not pushed out by what an outage leaves to do, however much that is', async (t) => {
    const graves = open()
    t.after(() => { graves.close() })
    graves.bury('k', 'signed out', 60_000)
    told.length = 0
    for (let count = 0; count < 20_000; count++) graves.owe('k', `begun ${count}`)
    t.equal(graves.has({ key: 'k', field: 'signed out' }), true)
    await graves.retell()

    t.equal(told.length, 10_001)
  })

  t.test('tell the rest though one cannot be told', async (t) => {
    const heard: string[] = []
    const graves = new Graves(async (_key, [field = '']) => {
      if (field === 'f0') throw new Error('WRONGTYPE')
      heard.push(field)
    })
    t.after(() => { graves.close() })
    for (let count = 0; count < 250; count++) graves.bury('k', `f${count}`, 60_000)
    await graves.retell()

    t.equal(heard.length, 249)
  })

  t.test('end what is owed as soon as Redis can be asked', async (t) => {
    const graves = open()
    t.after(() => { graves.close() })
    isAway = true
    told.length = 0
    graves.bury('k', 'owed', 60_000)
    graves.owe('k', 'owed')
    await graves.retell()
    t.same([told.length, graves.has({ key: 'k', field: 'owed' })], [0, true])
    isAway = false

    await until(() => told.includes('k owed'), { what: 'it is told' })
  })
})
