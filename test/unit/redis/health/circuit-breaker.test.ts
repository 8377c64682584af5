import t from 'tap'
import { CircuitBreaker } from '../../../../src/redis/health/circuit-breaker.ts'

t.test('circuit breaker opens at the third failure in a row, and reports it once', async (t) => {
  const changes: boolean[] = []
  const breaker = new CircuitBreaker((isOpen) => changes.push(isOpen))

  const states = [1, 2, 3, 4].map(() => {
    breaker.failed()
    return breaker.isOpen
  })

  t.same(states, [false, false, true, true])
  t.same(changes, [true])
})

t.test('circuit breaker counts only failures in a row', async (t) => {
  const changes: boolean[] = []
  const breaker = new CircuitBreaker((isOpen) => changes.push(isOpen))

  breaker.failed()
  breaker.failed()
  breaker.succeeded()
  breaker.failed()
  breaker.failed()

  t.equal(breaker.isOpen, false)
  t.same(changes, [])
})

t.test('circuit breaker closes at the first success, and reports it once', async (t) => {
  const changes: boolean[] = []
  const breaker = new CircuitBreaker((isOpen) => changes.push(isOpen))
  for (let failures = 0; failures < 5; failures++) breaker.failed()

  breaker.succeeded()
  breaker.succeeded()

  t.equal(breaker.isOpen, false)
  t.same(changes, [true, false])
})
