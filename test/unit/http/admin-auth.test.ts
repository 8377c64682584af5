import fc from 'fast-check'
import t from 'tap'
import { AdminAuth } from '../../../src/http/admin-auth.ts'
import { propertyRuns } from '../../support/property-runs.ts'

const minuteMs = 60_000
const adminAuth = new AdminAuth('a-token', false)

t.test('an issued token is valid for 30 minutes, and only with the configured token that signed it', async (t) => {
  const { ticket, maxAgeSeconds } = adminAuth.issueToken()

  t.equal(maxAgeSeconds, 1800)
  t.doesNotThrow(() => adminAuth.check(undefined, ticket))
  t.doesNotThrow(() => adminAuth.check(undefined, adminAuth.issueToken(Date.now() - 29 * minuteMs).ticket))
  t.throws(() => adminAuth.check(undefined, adminAuth.issueToken(Date.now() - 31 * minuteMs).ticket), { code: 'PRISM_ERR_ADMIN_AUTH' })
  t.throws(() => new AdminAuth('another-token', false).check(undefined, ticket), { code: 'PRISM_ERR_ADMIN_AUTH' })
})

t.test('a modified token is rejected', async (t) => {
  const [until = '', random, signature] = adminAuth.issueToken().ticket.split('.')

  for (const forged of [`${Number(until) + 1}.${random}.${signature}`, `${until}.x${random}.${signature}`, `${until}.${random}.`, `${until}.${random}`, '', '..', 'Infinity..']) {
    t.throws(() => adminAuth.check(undefined, forged), { code: 'PRISM_ERR_ADMIN_AUTH' }, forged)
  }
})

t.test('without a configured token access is open, and in production disabled', async (t) => {
  t.doesNotThrow(() => new AdminAuth(undefined, false).check(undefined))
  t.throws(() => new AdminAuth(undefined, true).check('Bearer undefined', adminAuth.issueToken().ticket), { code: 'PRISM_ERR_ADMIN_DISABLED' })
  t.throws(() => adminAuth.check('Bearer'), { code: 'PRISM_ERR_ADMIN_AUTH' })
  t.doesNotThrow(() => adminAuth.check('bearer a-token'))
})

t.test('no client input makes the comparison throw', async (t) => {
  const [until = '', random = '', signature = ''] = adminAuth.issueToken().ticket.split('.')
  // As many characters as a signature, and more bytes.
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.string({ unit: fc.constantFrom('a', '\u00e9', '\u4e2d', '\ud800', '\ud83d\ude00', '.'), minLength: 43, maxLength: 43 }))
  const refuses = (check: () => void) => {
    try {
      check()
    } catch (error) {
      return (error as { code?: string }).code === 'PRISM_ERR_ADMIN_AUTH'
    }
    return false
  }

  fc.assert(fc.property(text, (text) => refuses(() => adminAuth.check(`Bearer ${text}`, `${until}.${random}.${text}`)) && refuses(() => adminAuth.check(text, text))), { numRuns: propertyRuns(1000) })
  t.ok(refuses(() => adminAuth.check(undefined, `${until}.${random}.${'\u00e9'.repeat(signature.length)}`)))
})
