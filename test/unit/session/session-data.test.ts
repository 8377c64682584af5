import { test } from 'tap'
import { SessionData } from '../../../src/session/session-data.ts'
import type { ConflictRule } from '../../../src/session/conflict-rules.ts'

const noRules = new Map<string, ConflictRule>()
const add = (amount: number) => (value: unknown) => Number(value ?? 0) + amount

test('session data', async (t) => {
  t.test('stores JSON values as they were when set, and returns them frozen', async (t) => {
    const data = new SessionData('{"a":1}')
    const list = [{ deep: 1 }]
    data.set('list', list)
    list.push({ deep: 2 })

    t.same(data.get('list'), [{ deep: 1 }])
    t.throws(() => { (data.get('list') as unknown[]).push(1) }, TypeError)
    t.throws(() => { (data.get('list') as { deep: number }[])[0]!.deep = 3 }, TypeError)
    t.equal(data.toText(), '{"a":1,"list":[{"deep":1}]}')
  })

  t.test('reports whether it was changed', async (t) => {
    const data = new SessionData('{"a":1}')
    data.get('a')
    data.delete('b')
    t.equal(data.isChanged, false)
    data.delete('a')
    t.equal(data.isChanged, true)
  })

  t.test('stores names with a meaning in JavaScript like any other', async (t) => {
    const data = new SessionData('{"__proto__":{"isAdmin":true},"constructor":1}')
    data.set('toString', 'x')

    t.equal(data.get('isAdmin'), undefined)
    t.equal(data.get('hasOwnProperty'), undefined)
    t.equal(data.toText(), '{"__proto__":{"isAdmin":true},"constructor":1,"toString":"x"}')
    t.equal(({} as { isAdmin?: boolean }).isAdmin, undefined)
  })

  t.test('rejects values that JSON cannot represent, or that are too large, and stays unchanged', async (t) => {
    const data = new SessionData('{"a":1}')
    for (const value of [undefined, Promise.resolve(1), () => {}, Symbol('x'), 1n, { toJSON () { throw new Error('no') } }]) t.throws(() => { data.set('b', value) }, { code: 'PRISM_ERR_SESSION_VALUE', statusCode: 500 })
    t.throws(() => { data.set('b', { cart: new Map() }) }, { code: 'PRISM_ERR_SESSION_VALUE', message: 'The value of b cannot be stored in a session: it holds a Map, which JSON does not keep: use Object.fromEntries(map).' })
    for (const key of [{ cart: [] }, undefined, 1, Symbol('x')]) t.throws(() => { data.set(key as never, 1) }, { code: 'PRISM_ERR_SESSION_VALUE', message: /key must be a/ })
    t.throws(() => { data.update('a', () => [new Set()]) }, { code: 'PRISM_ERR_SESSION_VALUE' })
    t.throws(() => { data.set('b', 'x'.repeat(8192)) }, { code: 'PRISM_ERR_SESSION_TOO_LARGE', statusCode: 413 })
    t.throws(() => { data.update('a', async () => 2) }, { code: 'PRISM_ERR_SESSION_VALUE', message: /await/ })
    t.throws(() => { data.update('a', () => 'ü'.repeat(4096)) }, { code: 'PRISM_ERR_SESSION_TOO_LARGE' })
    t.equal(data.toText(), '{"a":1}')
    t.equal(data.isChanged, false)
    data.set('b', 'x'.repeat(8192 - '{"a":1,"b":""}'.length))
  })

  t.test('rejects text that is not a JSON object', async (t) => {
    for (const text of ['', '{', '[]', 'null', '1', '"x"']) t.throws(() => new SessionData(text), { code: 'PRISM_ERR_SESSION_CORRUPT' })
  })

  t.test('update can change its copy in place, and undefined deletes', async (t) => {
    const data = new SessionData('{"list":[1],"gone":1}')

    t.same(data.update('list', (list) => { (list as number[]).push(2); return list }), [1, 2])
    t.equal(data.update('gone', () => undefined), undefined)
    t.equal(data.toText(), '{"list":[1,2]}')
  })
})

test('session data rebased on another request\'s save', async (t) => {
  const rebased = (base: string, change: (data: SessionData) => void, theirs: string, rules = noRules) => {
    const data = new SessionData(base)
    change(data)
    return data.rebase(theirs, rules).toText()
  }

  t.test('keeps keys that only one of both has changed', async (t) => {
    t.equal(rebased('{"a":1,"b":1}', (mine) => { mine.set('a', 2) }, '{"a":1,"b":2}'), '{"a":2,"b":2}')
    t.equal(rebased('{"a":1,"b":1}', (mine) => { mine.delete('a') }, '{"a":1}'), '{}')
    t.equal(rebased('{}', (mine) => { mine.set('a', 1) }, '{"b":2}'), '{"b":2,"a":1}')
  })

  t.test('runs all updates again, in order', async (t) => {
    t.equal(rebased('{"n":1}', (mine) => { mine.update('n', add(1)); mine.update('n', (n) => Number(n) * 10) }, '{"n":5}'), '{"n":60}')
    t.equal(rebased('{}', (mine) => { mine.update('n', add(1)) }, '{"n":1}'), '{"n":2}', 'two increments count twice')
  })

  t.test('treats an update after a plain set as a plain set', async (t) => {
    t.equal(rebased('{"n":1}', (mine) => { mine.set('n', 7); mine.update('n', add(1)) }, '{"n":5}'), '{"n":8}')
    t.throws(() => rebased('{"n":1}', (mine) => { mine.update('n', add(1)); mine.set('n', 7) }, '{"n":5}'), { code: 'PRISM_ERR_SESSION_CONFLICT' })
  })

  t.test('lets a set or delete of an unread key win, and reports it', async (t) => {
    const changes: [(mine: SessionData) => void, string][] = [
      [(mine) => { mine.set('a', 2) }, '{"a":2}'],
      [(mine) => { mine.set('a', null) }, '{"a":null}'],
      [(mine) => { mine.delete('a') }, '{}'],
      [(mine) => { mine.set('a', 1); mine.get('a'); mine.set('a', 2) }, '{"a":2}'],
      [(mine) => { mine.set('a', 2); mine.delete('a') }, '{}'],
      [(mine) => { mine.get('b'); mine.set('a', 2) }, '{"a":2}']
    ]
    for (const [change, text] of changes) {
      const data = new SessionData('{"a":1}')
      change(data)
      const next = data.rebase('{"a":3}', noRules)

      t.equal(next.toText(), text)
      t.same([data.hasOverwritten, next.hasOverwritten, next.rebase('{"a":3}', noRules).hasOverwritten], [false, true, true])
      t.equal(data.rebase('{"a":1,"b":1}', noRules).hasOverwritten, false, 'only if another request has set the key')
    }
    t.equal(rebased('{"a":1}', (mine) => { mine.set('a', 2) }, '{}'), '{"a":2}', 'also after a delete')
    t.equal(rebased('{}', (mine) => { mine.set('a', 2) }, '{"a":3}'), '{"a":2}', 'also for a new key')
  })

  t.test('conflicts if a key that was read is changed differently by another request, and not if equally', async (t) => {
    const changes: ((mine: SessionData) => void)[] = [
      (mine) => { mine.set('a', Number(mine.get('a')) + 1) },
      (mine) => { mine.get('a'); mine.delete('a') },
      (mine) => { mine.get('a'); mine.set('a', 4); mine.delete('a') },
      (mine) => { mine.update('a', add(1)); mine.delete('a') }
    ]
    for (const change of changes) t.throws(() => rebased('{"a":1}', change, '{"a":3}'), { code: 'PRISM_ERR_SESSION_CONFLICT', statusCode: 409, message: /\ba in.*session\.update\(\)/ })
    t.throws(() => rebased('{"a":1}', (mine) => { mine.get('a'); mine.set('a', 2) }, '{}'), { code: 'PRISM_ERR_SESSION_CONFLICT' })
    t.throws(() => rebased('{}', (mine) => { mine.get('a'); mine.set('a', 2) }, '{"a":3}'), { code: 'PRISM_ERR_SESSION_CONFLICT' }, 'also if the key was missing')
    t.equal(rebased('{"a":1}', (mine) => { mine.get('a'); mine.set('a', 2) }, '{"a":2}'), '{"a":2}')
    t.equal(rebased('{"a":1}', (mine) => { mine.get('a'); mine.delete('a') }, '{}'), '{}')
  })

  t.test('follows a key\'s rule', async (t) => {
    const rules = new Map<string, ConflictRule>([['theme', 'lastWriteWins'], ['sum', (base, mine, theirs) => Number(mine) + Number(theirs) - Number(base)]])

    t.equal(rebased('{"theme":"a"}', (mine) => { mine.set('theme', 'b') }, '{"theme":"c"}', rules), '{"theme":"b"}')
    t.equal(rebased('{"sum":10}', (mine) => { mine.set('sum', 11) }, '{"sum":12}', rules), '{"sum":13}')
    t.equal(rebased('{"sum":10}', (mine) => { mine.set('sum', 11) }, '{"sum":11}', rules), '{"sum":12}')
    t.equal(rebased('{"theme":"a"}', (mine) => { mine.get('theme'); mine.set('theme', 'b') }, '{"theme":"c"}', rules), '{"theme":"b"}')
  })

  t.test('rejects a result that is too large', async (t) => {
    t.throws(() => rebased('{}', (mine) => { mine.set('a', 'x'.repeat(5000)) }, `{"b":"${'y'.repeat(5000)}"}`), { code: 'PRISM_ERR_SESSION_TOO_LARGE' })
  })

  t.test('can be rebased again', async (t) => {
    const data = new SessionData('{"n":1}')
    data.update('n', add(1))

    t.equal(data.rebase('{"n":2,"x":1}', noRules).rebase('{"n":7}', noRules).toText(), '{"n":8}')
  })
})
