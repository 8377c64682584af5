import fc from 'fast-check'
import t from 'tap'
import { parseNoVarySearch, simplifySearch } from '../../../src/http/no-vary-search.ts'

const read = (field: string | string[]) => {
  const variance = parseNoVarySearch(field)
  return variance && [variance.by, [...variance.names], variance.isOrdered]
}

t.test('no-vary-search reads which parameters count, and whether their order does', async (t) => {
  t.same(read('params'), ['only', [], true])
  t.same(read('params=("a")'), ['but', ['a'], true])
  t.same(read('params, except=("x" "y")'), ['only', ['x', 'y'], true])
  t.same(read('key-order'), ['but', [], false])
  t.same(read('params, key-order, except=("x")'), ['only', ['x'], false])
  t.same(read(['key-order', 'params=("a")']), ['but', ['a'], false])
  t.same(read('params=("%C3%A9+%E6%B0%97" "a&b=c" "?" "")'), ['but', ['é 気', 'a&b=c', '?', ''], true])
  t.same(read('key-order, unknown=7'), ['but', [], false])
})

t.test('an invalid No-Vary-Search is ignored', async (t) => {
  const nothing = [
    '', ' ', 'unknown-key', 'key-order="not a boolean"', 'params="not a list"', 'params=(not-a-string)', 'params=("a"), except=("x")', 'params=(), except=()', 'params=?0, except=("x")',
    'params, except=(not-a-string)', 'params, except="not a list"', 'params, except=?1', 'except=("x")', 'except=()', 'params=?0', 'params=()', 'key-order=?0', 'params=("a"', 'key-order, key-order=1'
  ]

  for (const field of nothing) t.equal(parseNoVarySearch(field), undefined, field)
  t.equal(parseNoVarySearch(undefined), undefined)
})

t.test('equivalent queries are normalized to one form, and different ones are not', async (t) => {
  const form = (field: string, query: string) => {
    const variance = parseNoVarySearch(field)
    return variance && simplifySearch(query, variance)
  }

  for (const query of ['?a=x', '?%61=%78', '?a=x&&&&', 'a=x', '?utm=1&a=x']) t.equal(form('params=("utm")', query), 'a=x', query)
  for (const query of ['?a=%20', '?a=+']) t.equal(form('key-order', query), 'a=+', query)
  t.equal(form('key-order', '?a'), form('key-order', '?a='))
  t.equal(form('key-order', '?b=1&a=2&b=0'), 'a=2&b=1&b=0')
  t.equal(form('params=("x")', '?b=1&a=2&x=3'), 'b=1&a=2')
  t.equal(form('params', '?a=1'), '')
  t.equal(form('params, except=("id")', '?a=1&id=7&b=2'), 'id=7')
  t.not(form('key-order', '?a=1&a=2'), form('key-order', '?a=2&a=1'))
  t.not(form('key-order', '?a=1%26b=2'), form('key-order', '?a=1&b=2'))
})

t.test('any No-Vary-Search is parsed without an error, and normalization is idempotent', async (t) => {
  const field = fc.array(fc.oneof(fc.constantFrom('params', 'except', 'key-order', '=', '(', ')', '"', ',', ' ', '?0', '?1', '"a"', '%', '%zz', '%ff', ';', '*'), fc.string({ maxLength: 4 })), { maxLength: 12 }).map((parts) => parts.join(''))

  fc.assert(fc.property(field, fc.string(), (text, query) => {
    const variance = parseNoVarySearch(text) ?? { by: 'but' as const, names: new Set<string>(), isOrdered: false }
    const once = simplifySearch(query, variance)
    if (simplifySearch(once, variance) !== once) throw new Error(`${text}: ${query}`)
  }), { numRuns: 2000 })
  t.pass('2000 fields')
})
