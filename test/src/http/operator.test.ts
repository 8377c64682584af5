import fc from 'fast-check'
import t from 'tap'
import { OperatorDoor } from '../../../src/http/operator.ts'

const minuteMs = 60_000
const door = new OperatorDoor('a-token', false)

t.test('operator: a ticket lets in for half an hour, and only where its token holds', async (t) => {
  const { ticket, maxAgeSeconds } = door.issue()

  t.equal(maxAgeSeconds, 1800)
  t.doesNotThrow(() => door.check(undefined, ticket))
  t.doesNotThrow(() => door.check(undefined, door.issue(Date.now() - 29 * minuteMs).ticket))
  t.throws(() => door.check(undefined, door.issue(Date.now() - 31 * minuteMs).ticket), { code: 'PRISM_ERR_OPERATOR' })
  t.throws(() => new OperatorDoor('another-token', false).check(undefined, ticket), { code: 'PRISM_ERR_OPERATOR' })
})

t.test('operator: a ticket that was changed is none', async (t) => {
  const [until = '', random, signature] = door.issue().ticket.split('.')

  for (const forged of [`${Number(until) + 1}.${random}.${signature}`, `${until}.x${random}.${signature}`, `${until}.${random}.`, `${until}.${random}`, '', '..', 'Infinity..']) {
    t.throws(() => door.check(undefined, forged), { code: 'PRISM_ERR_OPERATOR' }, forged)
  }
})

t.test('operator: without a token everybody may enter, and in production nobody', async (t) => {
  t.doesNotThrow(() => new OperatorDoor(undefined, false).check(undefined))
  t.throws(() => new OperatorDoor(undefined, true).check('Bearer undefined', door.issue().ticket), { code: 'PRISM_ERR_OPERATOR_OFF' })
  t.throws(() => door.check('Bearer'), { code: 'PRISM_ERR_OPERATOR' })
  t.doesNotThrow(() => door.check('bearer a-token'))
})

t.test('operator: no text that a client sends makes the comparison fail', async (t) => {
  const [until = '', random = '', signature = ''] = door.issue().ticket.split('.')
  // As many characters as a signature has, and more bytes.
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.string({ unit: fc.constantFrom('a', '\u00e9', '\u4e2d', '\ud800', '\ud83d\ude00', '.'), minLength: 43, maxLength: 43 }))
  const refuses = (check: () => void) => {
    try {
      check()
    } catch (error) {
      return (error as { code?: string }).code === 'PRISM_ERR_OPERATOR'
    }
    return false
  }

  fc.assert(fc.property(text, (text) => refuses(() => door.check(`Bearer ${text}`, `${until}.${random}.${text}`)) && refuses(() => door.check(text, text))), { numRuns: 2000 })
  t.ok(refuses(() => door.check(undefined, `${until}.${random}.${'\u00e9'.repeat(signature.length)}`)))
})
