import fc from 'fast-check'
import t from 'tap'
import { CacheWorld } from '../support/cache-model-world.ts'
import type { Act } from '../support/cache-model-world.ts'
import { propertyRuns } from '../support/property-runs.ts'

const runs = propertyRuns(12)
const any = fc.nat(30)

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 14, arbitrary: fc.record({ what: fc.constant('request' as const), app: any, id: any, isSwapped: fc.boolean(), how: fc.constantFrom('plain' as const, 'plain' as const, 'conditional' as const, 'part' as const, 'revalidating' as const), isHeld: fc.nat(3).map((chance) => chance === 0) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('refuse' as const), app: any, id: any, isSlow: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('release' as const), of: any }) },
  { weight: 4, arbitrary: fc.record({ what: fc.constant('write' as const), of: any }) },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('purge' as const), app: any, id: any, isSoft: fc.boolean(), ofAll: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('lose' as const), of: any }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constantFrom('save' as const, 'restart' as const, 'lag' as const, 'failover' as const) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('setBack' as const) }) }
)

t.test('cache serves no response older than an acknowledged purge, settles every waiter and expires every key, in any sequence of events in three processes, Redis and its replica', { timeout: 0 }, async (t) => {
  const world = await CacheWorld.start(t)
  let responses = 0

  const property = fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 60, size: 'max' }), async (acts) => {
    await world.begin()
    for (const each of acts) await world.act(each)
    await world.end()
    responses += acts.filter(({ what }) => what === 'request').length
    if (world.faults.length > 0) throw new Error(world.faults.join('\n'))
  })

  await fc.assert(property, { numRuns: runs, endOnFailure: runs > 100 })
  const hits = world.apps.reduce((sum, { cache: { counts } }) => sum + counts.hit, 0)
  t.comment(`${responses} responses, ${hits} hits`)
  t.ok(hits > 0)
})
