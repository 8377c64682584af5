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
  t.not(normaliseField('x-a', 'A'), normaliseField('x-a', 'a'))
  t.equal(normaliseField('x-a', ' a ,b'), normaliseField('x-a', ['a', 'b']))
})
