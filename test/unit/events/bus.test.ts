import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { Bus } from '../../../src/events/bus.ts'
import { compareIds } from '../../../src/events/event.ts'
import type { Subscription } from '../../../src/events/topic-subscription.ts'
import { EventLog } from '../../../src/events/event-log.ts'
import { resolveEventsPolicy } from '../../../src/events/options.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { Subscriber } from '../../../src/redis/subscriber.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRig } from '../../support/proxied-redis.ts'
import { until } from '../../support/until.ts'
import { propertyRuns } from '../../support/property-runs.ts'

async function startBus (t: Test, url: string): Promise<Bus> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 1, commandTimeout }))
  await reached({ redisPool: pool })
  const policy = resolveEventsPolicy()
  const bus = new Bus({ policy, keys: pool.keyspace, log: new EventLog(pool.batch, pool.keyspace, policy, () => false), subscriber: new Subscriber(() => pool.openSubscriber(), () => {}), onFailure: (error) => { throw error } })
  t.after(() => {
    bus.close()
    pool.disconnect()
  })
  return bus
}

/** A subscriber that can leave and return, at any process, and its received calls. */
class Observer {
  readonly received: { what: 'begin' | 'event' | 'reset', id: string }[] = []
  #topic: string
  #subscription: Subscription | undefined

  constructor (topic: string) {
    this.#topic = topic
  }

  /** The last received ID. */
  get position (): string | undefined {
    return this.received.at(-1)?.id
  }

  follow (bus: Bus): void {
    this.#subscription?.close()
    const record = (what: Observer['received'][number]['what']) => (id: string) => { this.received.push({ what, id }) }
    const event = record('event')
    this.#subscription = bus.subscribe(this.#topic, ({ id = '' }) => event(id), { from: this.position, onBegin: record('begin'), onReset: record('reset') })
  }

  leave (): void {
    this.#subscription?.close()
  }
}

/** The model: after a position comes the next published event, whatever happened in between. */
function faultsOf (observer: Observer, published: readonly string[]): string[] {
  return observer.received.flatMap(({ what, id }, index) => {
    const before = observer.received[index - 1]?.id
    if (what !== 'event' || before === undefined) return []
    const expected = published.find((each) => compareIds(each, before) > 0)
    return id === expected ? [] : [`${id} came after ${before}, instead of ${expected}`]
  })
}

t.test('bus: any interleaving of publications, lost connections, resumptions and lost logs ends in order, or with a reset', { timeout: 300_000 }, async (t) => {
  const { url, control } = await startRig(t)
  const buses = [await startBus(t, url), await startBus(t, url)] as const
  const which = fc.constantFrom(0 as const, 1 as const)
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ does: fc.constant('publish' as const), bus: which, times: fc.integer({ min: 1, max: 80 }) }) },
    { weight: 3, arbitrary: fc.record({ does: fc.constant('come' as const), bus: which, observer: which }) },
    { weight: 2, arbitrary: fc.record({ does: fc.constant('leave' as const), observer: which }) },
    { weight: 2, arbitrary: fc.record({ does: fc.constant('drop' as const) }) },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('trim' as const), keep: fc.integer({ min: 0, max: 20 }) }) },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('flush' as const) }) },
    { weight: 2, arbitrary: fc.record({ does: fc.constant('settle' as const) }) }
  )
  let runs = 0

  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
    const topic = `run:${runs++}`
    const log = `prism:${topic}:log`
    const published: string[] = []
    const observers = [new Observer(topic), new Observer(topic)] as const
    observers.forEach((observer, index) => observer.follow(buses[index === 0 ? 0 : 1]))
    const publish = async (bus: Bus) => {
      const id = await bus.publish(topic, { type: 'n' }).catch(() => '')
      fc.pre(id !== '') // it is unknown whether the event was published: discard the run
      published.push(id)
    }
    const settled = async () => await until(() => observers.every((observer) => observer.position === published.at(-1)), { what: 'all have the last event' })

    for (const each of steps) {
      if (each.does === 'publish') for (let n = 0; n < each.times; n++) await publish(buses[each.bus])
      if (each.does === 'come') observers[each.observer].follow(buses[each.bus])
      if (each.does === 'leave') observers[each.observer].leave()
      if (each.does === 'drop') await control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      if (each.does === 'trim') await control.xtrim(log, 'MAXLEN', each.keep)
      if (each.does === 'flush') await control.unlink(log)
      if (each.does === 'settle') await Promise.all(observers.map(async (observer, index) => { observer.follow(buses[index === 0 ? 0 : 1]) }))
    }
    observers.forEach((observer, index) => observer.follow(buses[index === 0 ? 0 : 1]))
    await until(() => observers.every(({ position }) => position !== undefined), { what: 'all have begun' })
    await publish(buses[0])
    await settled()

    const loses = steps.some(({ does }) => does === 'trim' || does === 'flush')
    for (const observer of observers) {
      const faults = faultsOf(observer, published)
      if (faults.length > 0) throw new Error(faults.slice(0, 3).join('\n'))
      if (!loses && observer.received.some(({ what }) => what === 'reset')) throw new Error('a reset without a loss')
      observer.leave()
    }
  }), { numRuns: propertyRuns(20), endOnFailure: true })

  t.ok(runs >= 20)
})
