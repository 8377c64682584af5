import fc from 'fast-check'
import { test } from 'tap'
import { Keys } from '../../../src/redis/keys.ts'
import { Seal } from '../../../src/session/seal.ts'
import { anonymousBearer, birthOf, deviceOf, newTicket, userBearer } from '../../../src/session/ticket.ts'

const keys = new Keys()
const secret = 'a secret of the tests, 32 or more'

test('a seal', async (t) => {
  t.test('gives back any ticket that it sealed, here and elsewhere', async (t) => {
    const user = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((id) => id.isWellFormed())
    fc.assert(fc.property(fc.option(user, { nil: undefined }), fc.nat(2 ** 48 - 1), fc.boolean(), (userId, bornAt, isUncertain) => {
      const bearer = userId === undefined ? anonymousBearer() : userBearer(userId)
      const ticket = { ...newTicket(keys, bearer, bornAt), ...(isUncertain ? { earlier: { id: newTicket(keys, bearer).id, field: '' } } : {}) }
      const opened = new Seal('sid', [secret], keys).open(new Seal('sid', [secret], keys).seal(ticket))

      t.ok(opened !== undefined && !opened.isOld)
      return opened?.ticket.id === ticket.id && opened.ticket.userId === userId && opened.ticket.key === ticket.key && opened.ticket.field === ticket.field &&
        opened.ticket.bornAt === bornAt && (opened.ticket.earlier === undefined) === !isUncertain
    }), { numRuns: 100 })
  })

  t.test('opens nothing of which a single character was changed', async (t) => {
    const seal = new Seal('sid', [secret], keys)
    const value = seal.seal(newTicket(keys, userBearer('ada')))
    for (let at = 0; at < value.length; at++) {
      const changed = value.slice(0, at) + (value[at] === 'A' ? 'B' : 'A') + value.slice(at + 1)
      t.equal(seal.open(changed), undefined, `character ${at}`)
    }
  })

  t.test('opens nothing sealed under another name or by an unknown secret, and tells which were sealed by an old one', async (t) => {
    const value = new Seal('sid', [secret], keys).seal(newTicket(keys, userBearer('ada')))

    t.equal(new Seal('__Host-sid', [secret], keys).open(value), undefined)
    t.equal(new Seal('sid', [`${secret}!`], keys).open(value), undefined)
    t.match(new Seal('sid', [`${secret}!`, secret], keys).open(value), { isOld: true })
  })

  t.test('keeps what it has opened until told to forget, and never what it has not', async (t) => {
    const seal = new Seal('sid', [secret], keys)
    const value = new Seal('sid', [secret], keys).seal(newTicket(keys, userBearer('ada')))
    const first = seal.open(value)

    t.equal(seal.open(value), first)
    seal.forget(value)
    t.not(seal.open(value), first)
    t.same(seal.open(value), first)
  })

  t.test('never seals the same twice alike, nor shows who it is', async (t) => {
    const seal = new Seal('sid', [secret], keys)
    const ticket = newTicket(keys, userBearer('somebody'))

    t.not(seal.seal(ticket), seal.seal(ticket))
    t.notMatch(Buffer.from(seal.seal(ticket).slice(12), 'base64url').toString('latin1'), /somebody/)
  })
})

test('a ticket names a device by its birth, for its own bearer alone', async (t) => {
  const ada = { key: keys.userSession('ada'), bornAt: 1_795_383_503_370 }
  const device = deviceOf(ada)

  t.match(device, /^[\w-]{23}$/)
  t.equal(birthOf(ada.key, device), ada.bornAt)
  t.equal(birthOf(keys.userSession('grace'), device), undefined)
  for (const wrong of ['', 'x', '-', `${device}x`, device.toUpperCase(), `${device.slice(0, 9)}${'A'.repeat(14)}`]) t.equal(birthOf(ada.key, wrong), undefined, wrong)
})
