import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { RedisReplyError, RedisUnavailableError } from '../../../../src/shared/errors.ts'
import { MemoryGuard } from '../../../../src/cache/admission/memory-guard.ts'
import type { MemoryGuardOptions, MemoryUsage } from '../../../../src/cache/admission/memory-guard.ts'
import { until } from '../../../support/until.ts'

const limit = 1_000_000
const infoOf = (used: number, max = limit, server = 'one', clients = 5) => `# Memory\r\nused_memory:${used}\r\nmem_not_counted_for_evict:0\r\nmaxmemory:${max}\r\nrun_id:${server}\r\nconnected_clients:${clients}\r\n`
const nameOf = (index: number) => `api:cache:x:{${String(index).padStart(32, '0')}}`

function roomOf (t: { teardown: (end: () => void) => unknown }, options: Partial<MemoryGuardOptions>) {
  const seen = { reads: 0, unlinked: [] as string[], levels: [] as MemoryUsage['level'][], declined: 0, shed: 0 }
  const { info = async () => infoOf(0) } = options
  const memoryGuard = new MemoryGuard({
    limitBytes: () => limit,
    connections: () => 5,
    unlink: (names) => { seen.unlinked.push(...names) },
    count: (event) => { seen[event === 'evicted' ? 'shed' : 'declined'] += 1 },
    changed: ({ level }) => { seen.levels.push(level) },
    ...options,
    info: () => {
      seen.reads += 1
      return info()
    }
  })
  t.teardown(() => memoryGuard.close())
  return { room: memoryGuard, seen }
}

t.test('room asks for nothing and refuses nothing where no limit is set', async (t) => {
  const { room, seen } = roomOf(t, { limitBytes: () => 0, info: async () => infoOf(500_000_000, 0) })

  const admitted = Array.from({ length: 1000 }, (_, index) => {
    room.storing()
    return room.admit(nameOf(index), 100_000)
  })
  await turn()
  room.kept(nameOf(1), 100_000, 1000)

  t.ok(admitted.every(Boolean))
  t.equal(seen.reads, 1, 'whether that is still so it asks once a minute')
  t.equal(room.usage.level, 'normal')
})

t.test('room stores before the first reading a hundredth of the limit, and then no more than its part of what is free below 90 %', async (t) => {
  const { room, seen } = roomOf(t, { info: async () => infoOf(700_000, limit, 'one', 20) })
  const admitted = () => Array.from({ length: 100 }, (_, index) => room.admit(nameOf(index), 1000)).filter(Boolean).length

  t.equal(admitted(), 6) // 10,000 bytes, 1,500 each
  await turn()
  await turn()

  t.equal(admitted(), 33) // a quarter of 200,000
  t.equal(seen.declined, 94 + 67)
})

t.test('room admits only what is asked for twice above 80 %, and tells', async (t) => {
  const { room, seen } = roomOf(t, { info: async () => infoOf(820_000) })
  room.storing()
  await turn()
  await turn()

  t.notOk(room.admit(nameOf(1), 10), 'what is declined asks too, so it does not stay so')
  t.ok(room.admit(nameOf(1), 10))
  t.same(seen.levels, ['high'])
})

t.test('room gives up its own keys above 85 %, and unasked ones first', async (t) => {
  let used = 100_000
  const { room, seen } = roomOf(t, { info: async () => infoOf(used) })
  room.storing()
  await turn()
  for (let index = 0; index < 10; index++) room.kept(nameOf(index), 10_000, 60_000)
  for (let index = 0; index < 5; index++) room.asked(nameOf(index))
  used = 880_000

  await until(() => {
    room.storing()
    return seen.unlinked.length > 0
  }, { what: 'it looks again' })

  t.same(seen.unlinked, [5, 6, 7].map(nameOf)) // 12,300 bytes each, for 30,000
  t.equal(seen.shed, 3)
  t.equal(room.usage.level, 'critical')
  const { reads } = seen
  await until(() => seen.reads > reads, { what: 'it looks again though nobody stores' })
})

t.test('room rests where it may not ask, and asks again where Redis was away', async (t) => {
  let error: Error = new RedisReplyError('NOPERM')
  const { room, seen } = roomOf(t, { info: () => Promise.reject(error) })
  room.storing()
  await turn()
  await turn()
  t.ok(room.admit(nameOf(1), 10_000_000), 'a server that tells nothing has no limit')
  t.equal(seen.reads, 1)

  error = new RedisUnavailableError('no connection')
  const { room: other } = roomOf(t, { info: () => Promise.reject(error) })
  other.storing()
  await turn()
  await turn()
  t.notOk(other.admit(nameOf(1), 10_000_000))
})

t.test('room heeds the tightest of several masters', async (t) => {
  const servers = [infoOf(100_000, limit, 'one'), infoOf(880_000, limit, 'two')]
  let reads = 0
  const { room } = roomOf(t, { info: async () => servers[reads++ % 2] ?? '' })

  await until(() => {
    room.storing()
    return reads >= 3
  }, { what: 'both have told' })

  t.equal(room.usage.level, 'critical')
})
