import { test } from 'tap'
import { Document } from '../../../src/session/document.ts'
import type { KeyRule } from '../../../src/session/policy.ts'

const noRules = new Map<string, KeyRule>()
const add = (amount: number) => (value: unknown) => Number(value ?? 0) + amount

test('a document', async (t) => {
  t.test('holds values of JSON, as they were when they were set, and frozen', async (t) => {
    const document = new Document('{"a":1}')
    const list = [{ deep: 1 }]
    document.set('list', list)
    list.push({ deep: 2 })

    t.same(document.get('list'), [{ deep: 1 }])
    t.throws(() => { (document.get('list') as unknown[]).push(1) }, TypeError)
    t.throws(() => { (document.get('list') as { deep: number }[])[0]!.deep = 3 }, TypeError)
    t.equal(document.toText(), '{"a":1,"list":[{"deep":1}]}')
  })

  t.test('knows whether it was changed', async (t) => {
    const document = new Document('{"a":1}')
    document.get('a')
    document.delete('b')
    t.equal(document.isChanged, false)
    document.delete('a')
    t.equal(document.isChanged, true)
  })

  t.test('keeps names that mean something to JavaScript as any other', async (t) => {
    const document = new Document('{"__proto__":{"isAdmin":true},"constructor":1}')
    document.set('toString', 'x')

    t.equal(document.get('isAdmin'), undefined)
    t.equal(document.get('hasOwnProperty'), undefined)
    t.equal(document.toText(), '{"__proto__":{"isAdmin":true},"constructor":1,"toString":"x"}')
    t.equal(({} as { isAdmin?: boolean }).isAdmin, undefined)
  })

  t.test('refuses what JSON cannot say, and what would be too large, and stays as it was', async (t) => {
    const document = new Document('{"a":1}')
    const circle: { self?: unknown } = {}
    circle.self = circle

    for (const value of [undefined, Promise.resolve(1), () => {}, Symbol('x'), 1n, circle, { toJSON () { throw new Error('no') } }]) t.throws(() => { document.set('b', value) }, { code: 'PRISM_ERR_SESSION_VALUE' })
    t.throws(() => { document.set('b', 'x'.repeat(8192)) }, { code: 'PRISM_ERR_SESSION_TOO_LARGE', statusCode: 413 })
    t.throws(() => { document.update('a', async () => 2) }, { code: 'PRISM_ERR_SESSION_VALUE', message: /await/ })
    t.throws(() => { document.update('a', () => 'ü'.repeat(4096)) }, { code: 'PRISM_ERR_SESSION_TOO_LARGE' })
    t.equal(document.toText(), '{"a":1}')
    t.equal(document.isChanged, false)
    document.set('b', 'x'.repeat(8192 - '{"a":1,"b":""}'.length))
  })

  t.test('refuses text that is no object', async (t) => {
    for (const text of ['', '{', '[]', 'null', '1', '"x"']) t.throws(() => new Document(text), { code: 'PRISM_ERR_SESSION_CORRUPT' })
  })

  t.test('an update may change its copy in place, and undefined deletes', async (t) => {
    const document = new Document('{"list":[1],"gone":1}')

    t.same(document.update('list', (list) => { (list as number[]).push(2); return list }), [1, 2])
    t.equal(document.update('gone', () => undefined), undefined)
    t.equal(document.toText(), '{"list":[1,2]}')
  })
})

test('a document on what another request has saved', async (t) => {
  const rebased = (base: string, change: (document: Document) => void, theirs: string, rules = noRules) => {
    const document = new Document(base)
    change(document)
    return document.rebase(theirs, rules).toText()
  }

  t.test('keeps what only one of both changed', async (t) => {
    t.equal(rebased('{"a":1,"b":1}', (mine) => { mine.set('a', 2) }, '{"a":1,"b":2}'), '{"a":2,"b":2}')
    t.equal(rebased('{"a":1,"b":1}', (mine) => { mine.delete('a') }, '{"a":1}'), '{}')
    t.equal(rebased('{}', (mine) => { mine.set('a', 1) }, '{"b":2}'), '{"b":2,"a":1}')
  })

  t.test('runs updates again, all of them, in order', async (t) => {
    t.equal(rebased('{"n":1}', (mine) => { mine.update('n', add(1)); mine.update('n', (n) => Number(n) * 10) }, '{"n":5}'), '{"n":60}')
    t.equal(rebased('{}', (mine) => { mine.update('n', add(1)) }, '{"n":1}'), '{"n":2}', 'two that count are two, though both came to one')
  })

  t.test('takes an update on top of a plain set for a plain set', async (t) => {
    t.throws(() => rebased('{"n":1}', (mine) => { mine.set('n', 7); mine.update('n', add(1)) }, '{"n":5}'), { code: 'PRISM_ERR_SESSION_CONFLICT' })
    t.throws(() => rebased('{"n":1}', (mine) => { mine.update('n', add(1)); mine.set('n', 7) }, '{"n":5}'), { code: 'PRISM_ERR_SESSION_CONFLICT' })
  })

  t.test('is a conflict where both set the same key otherwise, and none where alike', async (t) => {
    t.throws(() => rebased('{"a":1}', (mine) => { mine.set('a', 2) }, '{"a":3}'), { code: 'PRISM_ERR_SESSION_CONFLICT', statusCode: 409, message: /set a in/ })
    t.throws(() => rebased('{"a":1}', (mine) => { mine.delete('a') }, '{"a":3}'), { code: 'PRISM_ERR_SESSION_CONFLICT' })
    t.throws(() => rebased('{"a":1}', (mine) => { mine.set('a', 2) }, '{}'), { code: 'PRISM_ERR_SESSION_CONFLICT' })
    t.equal(rebased('{"a":1}', (mine) => { mine.set('a', 2) }, '{"a":2}'), '{"a":2}')
    t.equal(rebased('{"a":1}', (mine) => { mine.delete('a') }, '{}'), '{}')
  })

  t.test('follows a key\'s rule', async (t) => {
    const rules = new Map<string, KeyRule>([['theme', { lastWriteWins: true }], ['sum', { merge: (base, mine, theirs) => Number(mine) + Number(theirs) - Number(base) }]])

    t.equal(rebased('{"theme":"a"}', (mine) => { mine.set('theme', 'b') }, '{"theme":"c"}', rules), '{"theme":"b"}')
    t.equal(rebased('{"sum":10}', (mine) => { mine.set('sum', 11) }, '{"sum":12}', rules), '{"sum":13}')
    t.equal(rebased('{"sum":10}', (mine) => { mine.set('sum', 11) }, '{"sum":11}', rules), '{"sum":12}')
  })

  t.test('refuses a whole that is too large', async (t) => {
    t.throws(() => rebased('{}', (mine) => { mine.set('a', 'x'.repeat(5000)) }, `{"b":"${'y'.repeat(5000)}"}`), { code: 'PRISM_ERR_SESSION_TOO_LARGE' })
  })

  t.test('can be rebased again', async (t) => {
    const document = new Document('{"n":1}')
    document.update('n', add(1))

    t.equal(document.rebase('{"n":2,"x":1}', noRules).rebase('{"n":7}', noRules).toText(), '{"n":8}')
  })
})
