import pino from 'pino'
import t from 'tap'
import { logOptions } from '../../service/log.ts'

/** Output of a log with this level. */
function written (level: string, write: (log: pino.Logger) => void): Array<Record<string, unknown>> {
  const lines: string[] = []
  write(pino(logOptions(level), { write: (line: string) => { lines.push(line) } }))
  return lines.map((line) => JSON.parse(line))
}

t.test('the level is a word, and the text is in message', async (t) => {
  const [line] = written('info', (log) => log.warn({ status: 200 }, 'hello'))

  t.match(line, { level: 'warn', message: 'hello', status: 200, time: /^\d{4}-\d\d-\d\dT/ })
  t.same(Object.keys(line ?? {}), ['level', 'time', 'status', 'message'])
})

t.test('an error is logged with kind, code, text, stack and cause, and no other property', async (t) => {
  const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED', address: 'secret' })
  const error = Object.assign(new Error('failed', { cause }), { code: 'X', command: { name: 'set', args: ['key', 'secret'] } })

  const lines = written('info', (log) => {
    log.error({ err: error }, 'a')
    log.error({ error }, 'b')
    log.error(error)
    log.error({ err: 'secret' }, 'c')
  })

  t.match(lines[0], { err: { type: 'Error', code: 'X', message: 'failed', stack: String, cause: { code: 'ECONNREFUSED' } } })
  t.match(lines[1], { error: { code: 'X' } })
  t.match(lines[2], { message: 'failed', error: { code: 'X' } })
  t.notMatch(JSON.stringify(lines), 'secret')
})

t.test('known paths of secrets are redacted', async (t) => {
  const lines = written('info', (log) => {
    log.info({ headers: { cookie: 'hunter2', authorization: 'hunter2', 'set-cookie': ['hunter2'] } }, 'a')
    log.info({ req: { headers: { cookie: 'hunter2' } }, body: { password: 'hunter2' } }, 'b')
    log.info({ password: 'hunter2', token: 'hunter2' }, 'c')
  })

  t.notMatch(JSON.stringify(lines), 'hunter2')
})
