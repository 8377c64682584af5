import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { RedisReplyError, RedisUnavailableError } from '../../../../src/shared/errors.ts'
import { MemoryGuard } from '../../../../src/cache/admission/memory-guard.ts'
import type { MemoryGuardOptions, MemoryUsage } from '../../../../src/cache/admission/memory-guard.ts'
import { readMemoryInfo } from '../../../../src/redis/health/memory-info.ts'
import { parseInfo } from '../../../../src/redis/health/server-info.ts'
import { until } from '../../../support/until.ts'

const limit = 1_000_000
const infoOf = (used: number, max = limit, server = 'one', clients = 5) => `# Memory\r\nused_memory:${used}\r\nmem_not_counted_for_evict:0\r\nmaxmemory:${max}\r\nrun_id:${server}\r\nconnected_clients:${clients}\r\n`
const nameOf = (index: number) => `api:cache:x:{${String(index).padStart(32, '0')}}`

function createGuard (t: { teardown: (end: () => void) => unknown }, { info = async () => infoOf(0), ...options }: Partial<MemoryGuardOptions> & { info?: () => Promise<string> }) {
  const seen = { reads: 0, unlinked: [] as string[], levels: [] as MemoryUsage['level'][], rejected: 0, evicted: 0 }
  const memoryGuard = new MemoryGuard({
    limitBytes: () => limit,
    connections: () => 5,
    unlink: (names) => { seen.unlinked.push(...names) },
    count: (event) => { seen[event === 'evicted' ? 'evicted' : 'rejected'] += 1 },
    changed: ({ level }) => { seen.levels.push(level) },
    ...options,
    readMemory: async () => {
      seen.reads += 1
      return readMemoryInfo(parseInfo(await info()))
    }
  })
  t.teardown(() => memoryGuard.close())
  return { guard: memoryGuard, seen }
}

t.test('memory guard reads nothing and rejects nothing without a memory limit', async (t) => {
  const { guard, seen } = createGuard(t, { limitBytes: () => 0, info: async () => infoOf(500_000_000, 0) })

  const admitted = Array.from({ length: 1000 }, (_, index) => {
    guard.storing()
    return guard.admit(nameOf(index), 100_000)
  })
  await turn()
  guard.stored(nameOf(1), 100_000, 1000)

  t.ok(admitted.every(Boolean))
  t.equal(seen.reads, 1, 'it reads again once a minute')
  t.equal(guard.usage.level, 'normal')
})

t.test('memory guard admits 1 % of the limit before the first read, and then its share of the free memory below 90 %', async (t) => {
  const { guard, seen } = createGuard(t, { info: async () => infoOf(700_000, limit, 'one', 20) })
  const admitted = () => Array.from({ length: 100 }, (_, index) => guard.admit(nameOf(index), 1000)).filter(Boolean).length

  t.equal(admitted(), 6) // 10,000 bytes, 1,500 each
  await turn()
  await turn()

  t.equal(admitted(), 33) // a quarter of 200,000
  t.equal(seen.rejected, 94 + 67)
})

t.test('memory guard admits only keys requested twice above 80 %, and reports the level', async (t) => {
  const { guard, seen } = createGuard(t, { info: async () => infoOf(820_000) })
  guard.storing()
  await turn()
  await turn()

  t.notOk(guard.admit(nameOf(1), 10), 'a rejected write also triggers a read, so that the level is updated')
  t.ok(guard.admit(nameOf(1), 10))
  t.same(seen.levels, ['high'])
})

t.test('memory guard evicts its own keys above 85 %, keys without requests first', async (t) => {
  let used = 100_000
  const { guard, seen } = createGuard(t, { info: async () => infoOf(used) })
  guard.storing()
  await turn()
  for (let index = 0; index < 10; index++) guard.stored(nameOf(index), 10_000, 60_000)
  for (let index = 0; index < 5; index++) guard.recordAccess(nameOf(index))
  used = 880_000

  await until(() => {
    guard.storing()
    return seen.unlinked.length > 0
  }, { what: 'the guard reads again' })

  t.same(seen.unlinked, [5, 6, 7].map(nameOf)) // 12,300 bytes each, for 30,000
  t.equal(seen.evicted, 3)
  t.equal(guard.usage.level, 'critical')
  const { reads } = seen
  await until(() => seen.reads > reads, { what: 'the guard reads again without writes' })
})

t.test('memory guard stops reading without permission, and reads again after an outage', async (t) => {
  let error: Error = new RedisReplyError('NOPERM')
  const { guard, seen } = createGuard(t, { info: () => Promise.reject(error) })
  guard.storing()
  await turn()
  await turn()
  t.ok(guard.admit(nameOf(1), 10_000_000), 'a server that denies INFO counts as unlimited')
  t.equal(seen.reads, 1)

  error = new RedisUnavailableError('no connection')
  const { guard: other } = createGuard(t, { info: () => Promise.reject(error) })
  other.storing()
  await turn()
  await turn()
  t.notOk(other.admit(nameOf(1), 10_000_000))
})

t.test('memory guard uses the fullest of several masters', async (t) => {
  const servers = [infoOf(100_000, limit, 'one'), infoOf(880_000, limit, 'two')]
  let reads = 0
  const { guard } = createGuard(t, { info: async () => servers[reads++ % 2] ?? '' })

  await until(() => {
    guard.storing()
    return reads >= 3
  }, { what: 'both masters have reported' })

  t.equal(guard.usage.level, 'critical')
})
