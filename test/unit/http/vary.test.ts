import t from 'tap'
import { normaliseField, parseVary } from '../../../src/http/vary.ts'

t.test('Vary names are unique and sorted, and an invalid name is a star', async (t) => {
  t.same(parseVary('Accept-Encoding, X-A,accept-encoding'), ['accept-encoding', 'x-a'])
  t.same(parseVary(['b', 'A, c']), ['a', 'b', 'c'])
  t.same([undefined, '', ' ,, '].map((field) => parseVary(field)), [[], [], []])
  for (const star of ['*', 'a, *', 'a b', 'a;b', '"a"', 'ü']) t.equal(parseVary(star), '*', star)
})

t.test('values are normalized as their headers define', async (t) => {
  t.equal(normaliseField('accept-language', 'de , EN;q=0.5'), normaliseField('accept-language', ['DE', 'en; q=0.5']))
  t.not(normaliseField('accept-language', 'de, en'), normaliseField('accept-language', 'en, de'), 'many servers prefer the first')
  t.equal(normaliseField('accept', 'Text/HTML; Q=0.5,,*/*'), normaliseField('accept', 'text/html;q=0.5 , */*'))
  t.not(normaliseField('accept', 'application/ld+json;profile=A'), normaliseField('accept', 'application/ld+json;profile=a'), 'parameters may be case-sensitive')
  t.equal(normaliseField('accept', 'a/b;x=", "'), 'a/b;x=", "', 'a quoted string is compared as it is')
})

t.test('values of headers that are not known to be lists are compared as they are', async (t) => {
  for (const name of ['x-filter', 'user-agent', 'cookie', 'authorization', 'referer', 'prefer']) {
    for (const value of ['A', '{"name":"Paris, Texas"}', '"a , b"', '[1,,2]', 'x (KHTML, like Gecko)', 'a,b', 'a, b', 'a,,b']) t.equal(normaliseField(name, value), value)
  }
  t.equal(normaliseField('x-a', ['a', 'b']), 'a, b', 'lines are joined as Node joins them')
})
