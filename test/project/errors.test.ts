import t from 'tap'
import * as serviceErrors from '../../service/errors.ts'
import * as packageErrors from '../../src/shared/errors.ts'
import { foreignErrors, plainErrors } from '../../src/http/problem.ts'
import { tableOf } from '../support/readme.ts'

/** Those of the package, and those of the example service. */
const errors = { ...packageErrors, ...serviceErrors }
/** Other messages of {@link packageErrors.OptionError}, under the same code. */
const variants = ['UnknownOptionError', 'ForeignOptionError']
const made = Object.entries(errors).filter(([name]) => !variants.includes(name)).map(([name, Made]) => ({ name, error: new (Made as new (...texts: unknown[]) => Error & { code: string, statusCode: number, headers?: unknown, retryAfterSeconds?: unknown })('one', 'two', 'three') }))
const statuses = new Map<string, number>([
  ...made.map(({ error }): [string, number] => [error.code, error.statusCode]),
  ...[...Object.values(foreignErrors), ...Object.values(plainErrors)].map(({ code, status }): [string, number] => [code, status])
])

t.test('error classes are named like their codes', async (t) => {
  const spelled = (name: string) => `PRISM_ERR${name.replace(/Error$/, '').replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

  t.same(made.filter(({ name, error }) => spelled(name) !== error.code).map(({ name }) => name), [])
})

t.test('each error has a code of its own', async (t) => {
  const codes = made.map(({ error }) => error.code)

  t.same(codes.filter((code, index) => codes.indexOf(code) !== index), [])
})

t.test('errors have a status of 400 or above, and a message', async (t) => {
  t.same(made.filter(({ error }) => error.statusCode < 400 || error.statusCode > 599).map(({ name }) => name), [])
  t.same(made.filter(({ error }) => !/^\S.*\S$/.test(error.message) || error.message.includes('%s')).map(({ name }) => name), [])
})

t.test('each 503 of the package has Retry-After, in its headers and as a number', async (t) => {
  const unavailable = made.filter(({ name, error }) => name in packageErrors && error.statusCode === 503).map(({ error }) => error)

  t.ok(unavailable.length > 0)
  for (const { code, headers, retryAfterSeconds } of unavailable) t.same([headers, retryAfterSeconds], [{ 'retry-after': '1' }, 1], code)
})

// NestJS responds 500 to errors whose class has another name.
t.test('error classes have the name of those of @fastify/error', async (t) => {
  t.same(made.filter(({ error }) => error.constructor.name !== 'FastifyError').map(({ name }) => name), [])
})

t.test('docs/errors.md lists each error with its status, and no other', async (t) => {
  const told = tableOf('docs/errors.md', 'code').map(([code = '', status]): [string, number] => [code, Number(status)])

  t.same(new Map(told), statuses)
  t.equal(told.length, statuses.size)
})

t.test('docs/errors.md says when each error occurs and what to do', async (t) => {
  t.same(tableOf('docs/errors.md', 'code').filter(([, , when = '', what = '']) => when.length < 5 || what.length < 5).map(([code]) => code), [])
})
