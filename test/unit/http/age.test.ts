import t from 'tap'
import { parseAge } from '../../../src/http/age.ts'

t.test('of several values of Age the first counts, and an invalid one is ignored', async (t) => {
  t.same(['0', '7', '7,9', ' 7 ', '7 , x', ', 7', '0, 0', '7,', '99999999999999999999'].map((text) => parseAge(text)), [0, 7, 7, 7, 7, 7, 0, 7, 2 ** 31])
  t.same([['0', '7'], ['7', '0'], ['7, x', '0'], ['', '7']].map((lines) => parseAge(lines)), [0, 7, 7, 7])
  t.equal(parseAge(5), 5)
  for (const text of ['', ' ', 'x', '-1', '+1', '1.5', '7200.0', '7;a=b', '7 7', 'x, 7', '1e3', '0x10', '"7"', '-1, 7', undefined]) t.equal(parseAge(text), undefined, String(text))
  t.equal(parseAge(['x', '7']), undefined)
})
