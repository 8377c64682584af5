import { test } from 'tap'
import { problemOf } from '../../../src/http/problem.ts'
import { quotaExceeded, quotaExceededDocument, retryAfterSecondsOf } from '../../../src/rate-limit/quota-exceeded.ts'

test('quotaExceededDocument is the problem document of the error, with the request ID as instance', async (t) => {
  for (const names of [['default'], ['burst', 'day'], ['burst,day'], ['"quoted"']]) {
    for (const seconds of [1, 60, 1]) {
      for (const id of ['req-1', 'a "b" \\ ü', '']) {
        t.same(JSON.parse(quotaExceededDocument(names, seconds, id)), JSON.parse(JSON.stringify(problemOf(quotaExceeded(names, seconds), id))), `${names.join('|')} ${seconds} ${id}`)
      }
    }
  }
})

test('quotaExceeded has no stack trace and leaves the limit of traces as it was', async (t) => {
  const { stackTraceLimit } = Error
  t.notMatch(quotaExceeded(['default'], 5).stack, /\n\s+at /)
  t.equal(Error.stackTraceLimit, stackTraceLimit)
})

test('retryAfterSecondsOf rounds up, is at least 1, and lengthens by up to the jitter', async (t) => {
  t.same([0, 1, 999, 1000, 1001].map((ms) => retryAfterSecondsOf(ms, 0)), [1, 1, 1, 1, 2])
  for (let run = 0; run < 200; run++) {
    const seconds = retryAfterSecondsOf(10_000, 0.5)
    t.ok(seconds >= 10 && seconds <= 15, String(seconds))
  }
})
