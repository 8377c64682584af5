import t from 'tap'
import { CircuitBreakers } from '../../../../src/redis/health/circuit-breakers.ts'
import type { CircuitBreaker } from '../../../../src/redis/health/circuit-breaker.ts'

function open (breaker: CircuitBreaker): void {
  for (let failure = 0; failure < 3; failure++) breaker.failed()
}

t.test('breakers tell of an outage when the first opens, and of its end when all are closed', (t) => {
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

t.test('breakers let one node be, whatever befalls another', (t) => {
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

t.test('breakers forget a node that serves nothing any more, and its outage with it', (t) => {
  const told: boolean[] = []
  const breakers = new CircuitBreakers((isOut) => told.push(isOut))
  open(breakers.of('old:1'))

  breakers.keep(new Set(['new:1']))

  t.same(told, [true, false])
  t.notOk(breakers.of('old:1').isOpen)
  t.end()
})
