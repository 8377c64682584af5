import t from 'tap'
import { acceptsCoding } from '../../../src/http/accept-encoding.ts'

t.test('accept-encoding allows a coding that it names, or a star does, with a weight', async (t) => {
  t.same(['br', 'gzip, br;q=0.5', '*', 'br;q=0, *', 'gzip', '', 'xbr', 'br; q=0.000', 'BR', 'br;q=0.001', '*;q=0'].map((text) => acceptsCoding(text, 'br')), [true, true, true, false, false, false, false, false, true, true, false])
  t.equal(acceptsCoding(undefined, 'br'), false)
})
