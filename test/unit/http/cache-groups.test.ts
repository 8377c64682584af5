import t from 'tap'
import { parseGroups } from '../../../src/http/cache-groups.ts'

t.test('Cache-Groups is parsed as a list of strings over several lines, and is empty if invalid', async (t) => {
  t.same(parseGroups('"a", "b";x=1, c, 1'), ['a', 'b'])
  t.same(parseGroups(['"a"', '"b"']), ['a', 'b'])
  for (const broken of ['"a', 'a b', '"a",', undefined, '']) t.same(parseGroups(broken), [], String(broken))
})
