import t from 'tap'
import { formatHttpDate, parseHttpDate } from '../../../src/http/date.ts'

t.test('dates are parsed in the three forms of the RFC, and in no other', async (t) => {
  const at = Date.UTC(1994, 10, 6, 8, 49, 37)

  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994']) t.equal(parseHttpDate(text, Date.UTC(2026, 0)), at, text)
  for (const text of ['', '0', '-1', 'Sun, 06 Nov 1994 08:49:37', 'Sun, 06 Nov 1994 08:49:37 UTC', 'Sun, 6 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 25:49:37 GMT', '1994-11-06T08:49:37Z', 'Sun, 00 Nov 1994 08:49:37 GMT']) {
    t.equal(parseHttpDate(text), undefined, text)
  }
  t.equal(parseHttpDate('Sunday, 06-Nov-77 08:49:37 GMT', Date.UTC(2026, 0)), Date.UTC(1977, 10, 6, 8, 49, 37))
  t.equal(parseHttpDate(formatHttpDate(at)), at)
})
