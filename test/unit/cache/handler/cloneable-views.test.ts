import { runInNewContext } from 'node:vm'
import t from 'tap'
import { viewHeaders } from '../../../../src/cache/handler/header-view.ts'

const native = globalThis.structuredClone
const reads: string[] = []
const headers = viewHeaders({ 'x-user': 'ann', accept: '*/*' }, { read: (name, fields) => { reads.push(name); return fields[name] }, list: (fields) => Object.keys(fields), withoutTracking: (read) => read() })
const plain = { 'x-user': 'ann', accept: '*/*' }
/** The replaced function; its type would not take what the tests give it. */
const clone = globalThis.structuredClone as (...given: unknown[]) => any

/** What a call does: its result, or its error. */
function outcome (call: () => unknown): unknown {
  try {
    return { result: call() }
  } catch (error) {
    return { name: (error as Error).name, message: (error as Error).message, code: (error as { code?: unknown }).code }
  }
}

t.test('structuredClone copies headers of a cached route, and what contains them, and reads them', async (t) => {
  t.same(clone(headers), plain)
  t.same([...new Set(reads)], ['x-user', 'accept'])
  t.same(clone({ list: [headers, 1], date: new Date(0) }), { list: [plain, 1], date: new Date(0) })
})

t.test('a copy keeps identities, cycles, holes of arrays, getters and names such as __proto__', async (t) => {
  const shared = { headers }
  const cyclic: Record<string, unknown> = { one: shared, two: shared, headers }
  cyclic.self = cyclic
  const copy = clone(cyclic)
  t.equal(copy.one, copy.two)
  t.equal(copy.self, copy)
  t.equal(copy.one.headers, copy.headers)

  const sparse: unknown[] = []
  sparse[3] = headers
  const holes = clone(sparse)
  t.same([holes.length, 0 in holes, holes[3]], [4, false, plain])

  let calls = 0
  const { got } = clone({ get got () { calls += 1; return calls }, headers })
  t.equal(got, calls, 'the value of the call that succeeded')

  const odd = clone(JSON.parse('{"__proto__":{"isAdmin":true},"headers":0}', (key, value) => key === 'headers' ? headers : value))
  t.same([Object.hasOwn(odd, '__proto__'), odd.isAdmin, ({} as { isAdmin?: boolean }).isAdmin], [true, undefined, undefined])
})

t.test('other calls do what they do without a cache, errors included', async (t) => {
  let traps = 0
  const watched = new Proxy({}, { get: () => { traps += 1 }, ownKeys: () => { traps += 1; return [] }, getPrototypeOf: () => { traps += 1; return null }, getOwnPropertyDescriptor: () => { traps += 1; return undefined } })
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const deep = () => { let value: unknown = () => {}; for (let level = 0; level < 20_000; level++) value = [value]; return value }
  const inputs: Record<string, unknown[]> = {
    nothing: [],
    undefined: [undefined],
    'a function': [() => {}],
    'a record with a symbol': [{ a: Symbol('x') }],
    'a proxy': [watched],
    'a revoked proxy': [{ revoked }],
    'a getter that throws': [{ get a () { throw new RangeError('own') } }],
    'options of a wrong type': [{}, 1],
    'a transfer of what cannot be transferred': [{}, { transfer: [{}] }],
    'headers beside a function': [{ headers, call: () => {} }],
    'headers in a Map': [new Map([['headers', headers]])]
  }
  for (const [name, given] of Object.entries(inputs)) {
    const { result, ...seen } = outcome(() => clone(...given)) as Record<string, unknown>
    const { result: _, ...expected } = outcome(() => native.apply(undefined, given as [unknown])) as Record<string, unknown>
    t.same(name === 'headers beside a function' ? { ...seen, message: '' } : seen, name === 'headers beside a function' ? { ...expected, message: '' } : expected, name)
  }
  t.equal(traps, 0)
  t.match(outcome(() => clone(deep())), { name: /DataCloneError|RangeError/ })
})

t.test('a buffer is transferred once, also where headers had to be copied', async (t) => {
  const buffer = new ArrayBuffer(8)
  const copy = clone({ headers, buffer }, { transfer: [buffer] })
  t.same([copy.headers, copy.buffer.byteLength, buffer.byteLength], [plain, 8, 0])
  const kept = new ArrayBuffer(8)
  t.throws(() => clone({ headers, kept, call: () => {} }, { transfer: [kept] }), { name: 'DataCloneError' })
  t.equal(kept.byteLength, 8)
})

t.test('the function looks like the one that it replaces, and other realms keep theirs', async (t) => {
  const { value, ...attributes } = Object.getOwnPropertyDescriptor(globalThis, 'structuredClone') ?? {}
  t.same(attributes, { writable: true, enumerable: true, configurable: true })
  t.same([value.name, value.length, 'prototype' in value], ['structuredClone', 0, false])
  t.throws(() => { Reflect.construct(value, [{}]) }, TypeError)
  t.equal(runInNewContext('typeof structuredClone'), 'undefined')
})
