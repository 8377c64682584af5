import t from 'tap'
import { parseAge } from '../../../src/http/age.ts'

t.test('an invalid Age is the maximum', async (t) => {
  t.same(['0', '7', '7,9', ' 7 '].map((text) => parseAge(text)), [0, 7, 7, 7])
  t.equal(parseAge(undefined), undefined)
  for (const text of ['', 'x', '-1', '1.5', '7;a=b', '0, 0']) t.equal(parseAge(text), 2 ** 31, text)
  t.equal(parseAge(['0', '0']), 2 ** 31)
})
