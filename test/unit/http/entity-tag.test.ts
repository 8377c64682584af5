import t from 'tap'
import { isEntityTag, makeEntityTag, matchesStrongly, matchesWeakly } from '../../../src/http/entity-tag.ts'

t.test('entity tags are compared weakly and strongly', async (t) => {
  t.equal(makeEntityTag('a'), makeEntityTag(Buffer.from('a')))
  t.match(makeEntityTag('a'), /^"[\w-]{22}"$/)
  t.same(['"a"', 'W/"a"', '"b", "a"', '*', 'a', '"b"', '', '"a', 'w/"a'].map((text) => matchesWeakly(text, '"a"')), [true, true, true, true, false, false, false, false, false])
  t.same(['"a"', 'W/"a"', '*'].map((text) => matchesStrongly(text, '"a"')), [true, false, true])
  t.equal(matchesStrongly('W/"a"', 'W/"a"'), false)
  t.equal(matchesWeakly('"a,b"', '"a,b"'), true)
})

t.test('a single entity tag is distinguished from other texts', async (t) => {
  t.same(['"a"', 'W/"a"', '""', '"a,b"'].map(isEntityTag), [true, true, true, true])
  t.same(['a', '"a', '"a", "b"', 'w/"a"', '"a b"', '', 7].map(isEntityTag), Array(7).fill(false))
})
