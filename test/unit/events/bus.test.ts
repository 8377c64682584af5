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
import { reached } from '../../support/wait-for-redis.ts'
import { startRig } from '../../support/proxied-redis.ts'
import { until } from '../../support/until.ts'

async function startBus (t: Test, url: string): Promise<Bus> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 1 }))
  await reached({ redisPool: pool })
  const policy = resolveEventsPolicy()
  const bus = new Bus({ policy, keys: pool.keyspace, log: new EventLog(pool.batch, pool.keyspace, policy), subscriber: new Subscriber(() => pool.openSubscriber(), () => {}), onFailure: (error) => { throw error } })
  t.after(() => {
    bus.close()
    pool.disconnect()
  })
  return bus
}

/** A subscriber that may go and come again, at any process, and what it was told. */
class Witness {
  readonly told: { what: 'begin' | 'event' | 'reset', id: string }[] = []
  #topic: string
  #subscription: Subscription | undefined

  constructor (topic: string) {
    this.#topic = topic
  }

  /** The last id it was told. */
  get position (): string | undefined {
    return this.told.at(-1)?.id
  }

  follow (bus: Bus): void {
    this.#subscription?.close()
    const tell = (what: Witness['told'][number]['what']) => (id: string) => { this.told.push({ what, id }) }
    const event = tell('event')
    this.#subscription = bus.subscribe(this.#topic, ({ id = '' }) => event(id), { from: this.position, onBegin: tell('begin'), onReset: tell('reset') })
  }

  leave (): void {
    this.#subscription?.close()
  }
}

/** The model: after a position comes the next event that was published, whatever happened. */
function faultsOf (witness: Witness, published: readonly string[]): string[] {
  return witness.told.flatMap(({ what, id }, index) => {
    const before = witness.told[index - 1]?.id
    if (what !== 'event' || before === undefined) return []
    const expected = published.find((each) => compareIds(each, before) > 0)
    return id === expected ? [] : [`${id} came after ${before}, instead of ${expected}`]
  })
}

t.test('bus: any interleaving of publishing, losing connections, coming again and losing the log ends in order, or is told by a reset', { timeout: 120_000 }, async (t) => {
  const { url, control } = await startRig(t)
  const buses = [await startBus(t, url), await startBus(t, url)] as const
  const which = fc.constantFrom(0 as const, 1 as const)
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ does: fc.constant('publish' as const), bus: which, times: fc.integer({ min: 1, max: 80 }) }) },
    { weight: 3, arbitrary: fc.record({ does: fc.constant('come' as const), bus: which, witness: which }) },
    { weight: 2, arbitrary: fc.record({ does: fc.constant('leave' as const), witness: which }) },
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
    const witnesses = [new Witness(topic), new Witness(topic)] as const
    witnesses.forEach((witness, index) => witness.follow(buses[index === 0 ? 0 : 1]))
    const publish = async (bus: Bus) => {
      const id = await bus.publish(topic, { type: 'n' }).catch(() => '')
      fc.pre(id !== '') // nobody knows whether it is there: a run that tells nothing
      published.push(id)
    }
    const settled = async () => await until(() => witnesses.every((witness) => witness.position === published.at(-1)), { what: 'everybody is level' })

    for (const each of steps) {
      if (each.does === 'publish') for (let n = 0; n < each.times; n++) await publish(buses[each.bus])
      if (each.does === 'come') witnesses[each.witness].follow(buses[each.bus])
      if (each.does === 'leave') witnesses[each.witness].leave()
      if (each.does === 'drop') await control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      if (each.does === 'trim') await control.xtrim(log, 'MAXLEN', each.keep)
      if (each.does === 'flush') await control.unlink(log)
      if (each.does === 'settle') await Promise.all(witnesses.map(async (witness, index) => { witness.follow(buses[index === 0 ? 0 : 1]) }))
    }
    witnesses.forEach((witness, index) => witness.follow(buses[index === 0 ? 0 : 1]))
    await until(() => witnesses.every(({ position }) => position !== undefined), { what: 'everybody has begun' })
    await publish(buses[0])
    await settled()

    const loses = steps.some(({ does }) => does === 'trim' || does === 'flush')
    for (const witness of witnesses) {
      const faults = faultsOf(witness, published)
      if (faults.length > 0) throw new Error(faults.slice(0, 3).join('\n'))
      if (!loses && witness.told.some(({ what }) => what === 'reset')) throw new Error('a reset, though nothing was lost')
      witness.leave()
    }
  }), { numRuns: 40, endOnFailure: true })

  t.ok(runs >= 40)
})
