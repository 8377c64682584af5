import { test } from 'tap'
import { readCookie } from '../../../src/session/cookie-header.ts'

test('readCookie', async (t) => {
  const cases: [field: string, value: string | undefined][] = [
    ['sid=a', 'a'],
    ['theme=dark; sid=a', 'a'],
    ['theme=dark;sid=a ; x=y', 'a'],
    ['\tsid=a', 'a'],
    ['sid=', ''],
    ['sid=a=b', 'a=b'],
    ['sid=a; sid=a', 'a'],
    ['sid=a; sid=b', undefined],
    ['sid=a; theme=dark; sid=', undefined],
    ['xsid=a', undefined],
    ['__Host-sid=a', undefined],
    ['theme="x, sid=a"', undefined],
    ['theme=x sid=a', undefined],
    ['SID=a', undefined],
    ['sid', undefined],
    ['', undefined]
  ]
  for (const [field, value] of cases) t.equal(readCookie(field, 'sid'), value, JSON.stringify(field))
})
