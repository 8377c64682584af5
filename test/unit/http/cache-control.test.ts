import fc from 'fast-check'
import t from 'tap'
import { parseCacheControl } from '../../../src/http/cache-control.ts'

t.test('directives are parsed in each form that the RFC allows', async (t) => {
  const read = (text: string | string[]) => parseCacheControl(text)

  t.match(read('max-age=60, S-MaxAge="30", no-store'), { maxAge: 60, sMaxage: 30, noStore: true, noCache: false, private: false })
  t.match(read('private="Set-Cookie, x-a", no-cache'), { private: ['set-cookie', 'x-a'], noCache: true })
  t.match(read(['max-age=60', 'public, max-age=10']), { maxAge: 10, public: true })
  t.match(read('max-age=60, max-age=60'), { maxAge: 60 })
  for (const broken of ['max-age', 'max-age=', 'max-age=-1', 'max-age=1.5', 'max-age=1 2', "max-age='60'", 'max-age=x']) t.equal(read(broken).maxAge, 0, broken)
  t.equal(read('max-age=99999999999999999999').maxAge, 2 ** 31)
  t.equal(read('x-max-age=60').maxAge, undefined)
  t.equal(read('x="max-age=60"').maxAge, undefined)
  t.equal(read('x="no-store, private').noStore, true, 'an unterminated quote hides no directive')
  t.equal(read('max-stale').maxStale, Infinity)
  t.equal(read('private="", private=x').private, true)
  t.equal(read('no-cache="a", no-cache').noCache, true)
})

t.test('an invalid directive is interpreted restrictively', async (t) => {
  t.match(parseCacheControl('no-store=x, private="a'), { noStore: true, private: true })
  t.match(parseCacheControl('max-age=60 no-store'), { noStore: true })
  t.match(parseCacheControl('max-age=60, max-age=1, max-age=30'), { maxAge: 1 })
  t.match(parseCacheControl('s-maxage=10, s-maxage=oops'), { sMaxage: 0 })
  t.match(parseCacheControl('no-cache="set-cookie", no-cache="x-b"'), { noCache: ['set-cookie', 'x-b'] })
  t.match(parseCacheControl('private="a b"'), { private: true })
  t.match(parseCacheControl(',, ,max-age=5,'), { maxAge: 5 })
  t.match(parseCacheControl(['', 'no-store', '']), { noStore: true })
  t.match(parseCacheControl('must-understand, no-store, only-if-cached, immutable, no-transform'), { mustUnderstand: true, noStore: true, onlyIfCached: true, immutable: true, noTransform: true })
})

t.test('cache-control writes and reads directives in any order, case and spacing', async (t) => {
  const directive = fc.constantFrom('max-age=60', 's-maxage=30', 'no-store', 'no-cache', 'private', 'public', 'must-revalidate', 'stale-if-error=5')

  fc.assert(fc.property(fc.uniqueArray(directive), fc.array(fc.boolean()), (directives, isUpper) => {
    const written = directives.map((each, index) => isUpper[index] === true ? ` ${each.toUpperCase()}\t` : each)
    const [one, other] = [parseCacheControl(directives.join(', ')), parseCacheControl([...written].reverse())]
    if (JSON.stringify(Object.entries(one).sort()) !== JSON.stringify(Object.entries(other).sort())) throw new Error(written.join())
  }))
  t.pass('100 fields')
})
