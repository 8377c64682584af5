import fc from 'fast-check'
import { test } from 'tap'
import { Keys } from '../../../src/redis/keys.ts'
import { CookieCipher } from '../../../src/session/cookie-cipher.ts'
import { anonymousSubject, createdAtOf, deviceOf, newToken, userSubject } from '../../../src/session/session-token.ts'
import { propertyRuns } from '../../support/property-runs.ts'

const keys = new Keys()
const secret = 'a secret of the tests, 32 or more'

test('cookie cipher', async (t) => {
  t.test('decrypts any token it encrypted, in this instance and in another', async (t) => {
    const user = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((id) => id.isWellFormed())
    fc.assert(fc.property(fc.option(user, { nil: undefined }), fc.nat(2 ** 48 - 1), fc.boolean(), (userId, createdAt, isUncertain) => {
      const subject = userId === undefined ? anonymousSubject() : userSubject(userId)
      const token = { ...newToken(keys, subject, createdAt), ...(isUncertain ? { previousId: { id: newToken(keys, subject).id, field: '' } } : {}) }
      const opened = new CookieCipher('sid', [secret], keys).decrypt(new CookieCipher('sid', [secret], keys).encrypt(token))

      t.ok(opened !== undefined && !opened.isSealedWithOldKey)
      return opened?.token.id === token.id && opened.token.userId === userId && opened.token.key === token.key && opened.token.field === token.field &&
        opened.token.createdAt === createdAt && (opened.token.previousId === undefined) === !isUncertain
    }), { numRuns: propertyRuns(100) })
  })

  t.test('rejects a token of which one character was changed', async (t) => {
    const cipher = new CookieCipher('sid', [secret], keys)
    const value = cipher.encrypt(newToken(keys, userSubject('ada')))
    for (let at = 0; at < value.length; at++) {
      const changed = value.slice(0, at) + (value[at] === 'A' ? 'B' : 'A') + value.slice(at + 1)
      t.equal(cipher.decrypt(changed), undefined, `character ${at}`)
    }
  })

  t.test('rejects tokens of another name or an unknown secret, and reports tokens of an old one', async (t) => {
    const value = new CookieCipher('sid', [secret], keys).encrypt(newToken(keys, userSubject('ada')))

    t.equal(new CookieCipher('__Host-sid', [secret], keys).decrypt(value), undefined)
    t.equal(new CookieCipher('sid', [`${secret}!`], keys).decrypt(value), undefined)
    t.match(new CookieCipher('sid', [`${secret}!`, secret], keys).decrypt(value), { isSealedWithOldKey: true })
  })

  t.test('caches decrypted tokens until they are removed, and no rejected ones', async (t) => {
    const cipher = new CookieCipher('sid', [secret], keys)
    const value = new CookieCipher('sid', [secret], keys).encrypt(newToken(keys, userSubject('ada')))
    const first = cipher.decrypt(value)

    t.equal(cipher.decrypt(value), first)
    cipher.forget(value)
    t.not(cipher.decrypt(value), first)
    t.same(cipher.decrypt(value), first)
  })

  t.test('encrypts a token differently each time, and hides the user', async (t) => {
    const cipher = new CookieCipher('sid', [secret], keys)
    const token = newToken(keys, userSubject('someone'))

    t.not(cipher.encrypt(token), cipher.encrypt(token))
    t.notMatch(Buffer.from(cipher.encrypt(token).slice(12), 'base64url').toString('latin1'), /someone/)
  })
})

test('a device ID contains the creation time and belongs to one subject', async (t) => {
  const ada = { key: keys.userSession('ada'), createdAt: 1_795_383_503_370 }
  const device = deviceOf(ada)

  t.match(device, /^[\w-]{23}$/)
  t.equal(createdAtOf(ada.key, device), ada.createdAt)
  t.equal(createdAtOf(keys.userSession('grace'), device), undefined)
  for (const wrong of ['', 'x', '-', `${device}x`, device.toUpperCase(), `${device.slice(0, 9)}${'A'.repeat(14)}`]) t.equal(createdAtOf(ada.key, wrong), undefined, wrong)
})
