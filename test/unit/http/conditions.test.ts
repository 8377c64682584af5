import t from 'tap'
import { isNotModified, isSameRange } from '../../../src/http/conditions.ts'

const validators = { entityTags: ['"a"', '"a-br"'], lastModified: 'Sun, 06 Nov 1994 08:49:37 GMT', date: 'Sun, 06 Nov 1994 09:49:37 GMT' }

t.test('If-None-Match takes precedence over If-Modified-Since, with weak comparison over all codings of the body', async (t) => {
  const is = (fields: Record<string, string>) => isNotModified(fields, validators)

  t.same(['"a"', 'W/"a"', '"x", "a-br"', '*', '"b"', 'a'].map((field) => is({ 'if-none-match': field })), [true, true, true, true, false, false])
  t.equal(is({ 'if-none-match': '"b"', 'if-modified-since': 'Sun, 06 Nov 1994 10:49:37 GMT' }), false)
  t.same(['37', '38', '36'].map((second) => is({ 'if-modified-since': `Sun, 06 Nov 1994 08:49:${second} GMT` })), [true, true, false])
  t.equal(is({ 'if-modified-since': 'Sunday, 06-Nov-94 08:49:37 GMT' }), true)
  t.same(['yesterday', '0', ''].map((field) => is({ 'if-modified-since': field })), [false, false, false])
  t.equal(is({}), false)
})

t.test('without Last-Modified, Date is used', async (t) => {
  const dated = { ...validators, lastModified: undefined }

  t.equal(isNotModified({ 'if-modified-since': 'Sun, 06 Nov 1994 09:49:37 GMT' }, dated), true)
  t.equal(isNotModified({ 'if-modified-since': 'Sun, 06 Nov 1994 09:49:36 GMT' }, dated), false)
  t.equal(isNotModified({ 'if-modified-since': 'Sun, 06 Nov 1994 09:49:36 GMT' }, { entityTags: [], lastModified: undefined }), false)
})

t.test('If-Range matches only a strong tag or a strong date', async (t) => {
  const is = (field: string, more = {}) => isSameRange({ 'if-range': field }, { ...validators, ...more })

  t.equal(isSameRange({}, validators), true)
  t.same(['"a"', '"b"', 'W/"a"', '*', '"a", "b"', ''].map((field) => is(field)), [true, false, false, false, false, false])
  t.equal(is('W/"a"', { entityTags: ['W/"a"'] }), false)
  t.equal(is(validators.lastModified), true)
  t.equal(is('Sun, 06 Nov 1994 08:49:38 GMT'), false)
  t.equal(is(validators.date, { lastModified: undefined }), false, 'Date is not the modification date')
  t.equal(is(validators.lastModified, { date: validators.lastModified }), false, 'the body can change twice in one second')
})
