import t from 'tap'
import { parseRange } from '../../../src/http/range.ts'

t.test('a single range is parsed, and other Range headers are ignored', async (t) => {
  t.same(['bytes=0-1', 'bytes=2-', 'bytes=-3', 'bytes=0-99', 'bytes=-99'].map((text) => parseRange(text, 10)), [{ first: 0, last: 1 }, { first: 2, last: 9 }, { first: 7, last: 9 }, { first: 0, last: 9 }, { first: 0, last: 9 }])
  t.same(['bytes=10-', 'bytes=-0'].map((text) => parseRange(text, 10)), ['unsatisfiable', 'unsatisfiable'])
  t.same(['bytes=-', 'bytes=3-2', 'bytes=0-1,3-4', 'lines=0-1', 'bytes=x-y', ''].map((text) => parseRange(text, 10)), Array(6).fill(undefined))
})
