import { runInNewContext } from 'node:vm'
import { test } from 'tap'
import { copyJson } from '../../../src/shared/json.ts'

const refuse = (reason: string): never => { throw new Error(reason) }
const nested = (depth: number) => Array.from({ length: depth }).reduce<unknown>((inner) => [inner], 1)

test('a JSON copy', async (t) => {
  t.test('is equal to what JSON would return, and shares nothing with the value', async (t) => {
    const value = { text: 'x\ud800', none: null, list: [1, [true], {}], 'own name': -1.5, ['__proto__']: { isAdmin: true } }
    const copy = copyJson(value, refuse) as typeof value

    t.equal(JSON.stringify(copy), JSON.stringify(value))
    t.ok(Object.is(copyJson(-0, refuse), 0), 'JSON has no -0')
    value.list.push(2)
    t.equal(copy.list.length, 3)
    t.equal(Object.getPrototypeOf(copy), Object.prototype)
  })

  t.test('honours toJSON and objects without a prototype or of another realm, and omits undefined members', async (t) => {
    const at = new Date(0)
    const bare = Object.assign(Object.create(null) as object, { a: 1 })
    const parsed = Object.assign(Object.create(Object.create(null) as object) as object, { b: 1 })

    t.same(copyJson({ at, url: new URL('http://x/'), bare, parsed, own: { toJSON: () => ({ c: new Date(0) }) }, other: runInNewContext('({ list: [1, {}] })'), gone: undefined }, refuse),
      { at: '1970-01-01T00:00:00.000Z', url: 'http://x/', bare: { a: 1 }, parsed: { b: 1 }, own: { c: '1970-01-01T00:00:00.000Z' }, other: { list: [1, {}] } })
    t.equal(Object.keys(copyJson({ gone: undefined }, refuse) as object).length, 0)
    const twice = { a: 1 }
    t.same(copyJson([twice, twice], refuse), [{ a: 1 }, { a: 1 }], 'one object in two places is no cycle')
  })

  t.test('is rejected at any depth if JSON would drop or change a value, with the alternative in the error', async (t) => {
    const circle: { self?: unknown } = {}
    circle.self = circle
    class Cart { things = ['tea'] }
    class Things extends Array<string> {}
    const refused: [unknown, RegExp][] = [
      [undefined, /delete the value, or use null/],
      [NaN, /no NaN/], [Infinity, /no Infinity/], [-Infinity, /no -Infinity/],
      [1n, /String\(value\)/], [() => {}, /no function/], [Symbol('x'), /no symbol/],
      [new Map([['a', 1]]), /a Map.*Object\.fromEntries/], [new Set([1]), /a Set.*\[\.\.\.set\]/], [/x/, /a RegExp.*source/], [new Error('x'), /an? Error.*message/], [new TypeError('x'), /message/],
      [new WeakMap(), /WeakMap/], [new Cart(), /a Cart.*plain object/], [Object.create(new Cart()), /a Cart/], [Object('x'), /a String/], [Object(1), /a Number/], [Object(true), /a Boolean/],
      [Promise.resolve(1), /await/], [{ then: () => {} }, /await/], [(async () => 1)(), /await/], [(function * () {})(), /object of a class|Generator/],
      [Buffer.from('x'), /bytes.*base64/], [new Uint8Array(2), /bytes/], [new ArrayBuffer(2), /ArrayBuffer/],
      [new Date(NaN), /toJSON.*Date/], [{ toJSON: () => undefined }, /toJSON/], [{ toJSON: () => NaN }, /NaN/], [{ toJSON () { throw new Error('secret') } }, /^a getter or toJSON in it failed$/], [{ get a () { throw new Error('secret') } }, /^a getter or toJSON in it failed$/],
      [[undefined], /undefined/], [new Array(3), /undefined/], ['x'.match(/x/), /named members/], [Things.from(['a']), /a Things.*elements/],
      [{ [Symbol('x')]: 1 }, /symbol/], [Object.assign([1], { [Symbol('x')]: 1 }), /named members/], [{ call () {} }, /no function/],
      [circle, /contains itself/], [nested(100_000), /nested deeper than 1000/]
    ]
    for (const [value, reason] of refused) {
      if (value instanceof Promise) value.catch(() => {})
      t.throws(() => copyJson(value, refuse), { message: reason }, String(reason))
      if (value !== undefined) t.throws(() => copyJson({ list: [{ value }] }, refuse), { message: reason }, `inside: ${reason}`)
    }
  })

  t.test('takes time in proportion to the depth of nesting', async (t) => {
    t.same(copyJson(nested(1000), refuse), nested(1000))
    t.throws(() => copyJson(JSON.parse('['.repeat(500_000) + ']'.repeat(500_000)), refuse), { message: /deeper/ })
  })
})
