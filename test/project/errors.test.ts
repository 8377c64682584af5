import t from 'tap'
import * as errors from '../../src/shared/errors.ts'
import { foreignErrors, plainErrors } from '../../src/http/problem.ts'
import { tableOf } from '../support/readme.ts'

const made = Object.entries(errors).map(([name, Made]) => ({ name, error: new (Made as new (...texts: unknown[]) => Error & { code: string, statusCode: number })('one', 'two', 'three') }))
const statuses = new Map<string, number>([
  ...made.map(({ error }): [string, number] => [error.code, error.statusCode]),
  ...[...Object.values(foreignErrors), ...Object.values(plainErrors)].map(({ code, status }): [string, number] => [code, status])
])

t.test('errors have names that are the last words of their codes', async (t) => {
  const spelled = (name: string) => `PRISM_ERR${name.replace(/Error$/, '').replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

  t.same(made.filter(({ name, error }) => spelled(name) !== error.code).map(({ name }) => name), [])
})

t.test('errors have a code each', async (t) => {
  const codes = made.map(({ error }) => error.code)

  t.same(codes.filter((code, index) => codes.indexOf(code) !== index), [])
})

t.test('errors tell a client a status from 400 on, and a sentence', async (t) => {
  t.same(made.filter(({ error }) => error.statusCode < 400 || error.statusCode > 599).map(({ name }) => name), [])
  t.same(made.filter(({ error }) => !/^\S.*\S$/.test(error.message) || error.message.includes('%s')).map(({ name }) => name), [])
})

t.test('errors stand in the README with their status, and no others do', async (t) => {
  const told = tableOf('code').map(([code = '', status]): [string, number] => [code, Number(status)])

  t.same(new Map(told), statuses)
  t.equal(told.length, statuses.size)
})

t.test('errors say in the README when they come and what to do', async (t) => {
  t.same(tableOf('code').filter(([, , when = '', what = '']) => when.length < 5 || what.length < 5).map(([code]) => code), [])
})
