import t from 'tap'
import { CircuitBreaker } from '../../../../src/redis/health/circuit-breaker.ts'

t.test('breaker opens at the third failure in a row, and says so once', async (t) => {
  const changes: boolean[] = []
  const breaker = new CircuitBreaker((isOpen) => changes.push(isOpen))

  const states = [1, 2, 3, 4].map(() => {
    breaker.failed()
    return breaker.isOpen
  })

  t.same(states, [false, false, true, true])
  t.same(changes, [true])
})

t.test('breaker counts failures in a row only', async (t) => {
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

t.test('breaker closes at the first success, and says so once', async (t) => {
  const changes: boolean[] = []
  const breaker = new CircuitBreaker((isOpen) => changes.push(isOpen))
  for (let failures = 0; failures < 5; failures++) breaker.failed()

  breaker.succeeded()
  breaker.succeeded()

  t.equal(breaker.isOpen, false)
  t.same(changes, [true, false])
})
