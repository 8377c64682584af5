import t from 'tap'
import { CircuitBreakers } from '../../../../src/redis/health/circuit-breakers.ts'
import type { CircuitBreaker } from '../../../../src/redis/health/circuit-breaker.ts'

function open (breaker: CircuitBreaker): void {
  for (let failure = 0; failure < 3; failure++) breaker.failed()
}

t.test('circuit breakers report an outage when the first opens, and its end when all are closed', (t) => {
  const told: boolean[] = []
  const breakers = new CircuitBreakers((isOut) => told.push(isOut))

  open(breakers.of('a:1'))
  open(breakers.of('b:1'))
  breakers.of('a:1').succeeded()
  t.same(told, [true])
  t.ok(breakers.isAnyOpen)
  breakers.of('b:1').succeeded()

  t.same(told, [true, false])
  t.notOk(breakers.isAnyOpen)
  t.end()
})

t.test('circuit breakers of different nodes are independent', (t) => {
  const breakers = new CircuitBreakers(() => {})

  for (let failure = 0; failure < 3; failure++) {
    breakers.of('a:1').failed()
    breakers.of('b:1').succeeded()
  }

  t.ok(breakers.of('a:1').isOpen)
  t.notOk(breakers.of('b:1').isOpen)
  t.notOk(breakers.server.isOpen)
  t.end()
})

t.test('circuit breakers remove a node that serves nothing any more, and its outage', (t) => {
  const told: boolean[] = []
  const breakers = new CircuitBreakers((isOut) => told.push(isOut))
  open(breakers.of('old:1'))

  breakers.keep(new Set(['new:1']))

  t.same(told, [true, false])
  t.notOk(breakers.of('old:1').isOpen)
  t.end()
})
