import { test } from 'tap'
import { testAtlas } from '../../support/atlas.ts'

test('users', async (t) => {
  const { users, notes } = testAtlas(t)
  const ada = await users.create('Ada Straße', 'correct horse')

  t.test('a user signs in by name and password, in any case and width', async (t) => {
    t.same(await users.verify('Ada Straße', 'correct horse'), ada)
    t.same(await users.verify('ＡDA strasse', 'correct horse'), ada)
  })

  t.test('a password is the same in composed and decomposed form', async (t) => {
    const zoe = await users.create('Zoë', 'caf\u00e9 au lait')

    t.same(await users.verify('Zoe\u0308', 'cafe\u0301 au lait'), zoe)
  })

  t.test('an unknown name and a wrong password are rejected alike', async (t) => {
    const wrong = await users.verify('ada straße', 'correct horsE').catch((error) => ({ ...error, message: error.message }))
    const unknown = await users.verify('unknown', 'correct horse').catch((error) => ({ ...error, message: error.message }))

    t.match(wrong, { code: 'PRISM_ERR_CREDENTIALS', statusCode: 401 })
    t.same(unknown, wrong)
  })

  t.test('a name is assigned once, also in concurrent requests', async (t) => {
    const created = ['Grace', 'GRACE', 'grace', '\uff27race'].map((name) => users.create(name, 'correct horse'))
    const outcomes = await Promise.allSettled(created)

    t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') t.match(outcome.reason, { code: 'PRISM_ERR_NAME_TAKEN', statusCode: 409 })
    }
  })

  t.test('the user of a session is found, and one of another atlas is rejected', async (t) => {
    t.same(users.of({ userId: ada.id }), ada)
    t.throws(() => users.of({ userId: 'of-another-atlas' }), { code: 'PRISM_ERR_USER_UNKNOWN', statusCode: 401 })
    t.throws(() => users.of({ userId: undefined }), { code: 'PRISM_ERR_USER_UNKNOWN' })
  })

  t.test('a user has one note per city, the last one written', async (t) => {
    notes.write(2988507, ada, 'first')
    const written = notes.write(2988507, ada, 'second')

    t.same(notes.of(2988507), [written])
    t.match(written, { author: 'Ada Straße', text: 'second' })
    t.same(notes.of(2643743), [])
    t.same([notes.write(2988507, ada, 'half\ud83d')], notes.of(2988507))
  })
})
