import tap, { test } from 'tap'
import { Keys } from '../../../src/redis/keys.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { SessionStore } from '../../../src/session/session-store.ts'
import { readSessionRecord, writeLabel } from '../../../src/session/session-record.ts'
import { newToken, userSubject } from '../../../src/session/session-token.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const hour = 3_600_000
const keys = new Keys()
const beginning = { idleMs: hour, absoluteMs: 12 * hour, label: undefined, document: '{"a":1}' }

tap.setTimeout(300_000)

test('session store', { timeout: 300_000 }, async (t) => {
  const redis = await startRedis(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url: redis.url, commandTimeout }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  const store = new SessionStore(pool.batch)
  const tokenOf = (user: string) => newToken(keys, userSubject(user))
  const begun = async (user: string, options: Partial<typeof beginning> = {}) => {
    const token = tokenOf(user)
    const { value } = await store.create(token, { ...beginning, ...options })
    return { ...token, createdAt: readSessionRecord(value).createdAt }
  }
  const shiftSeen = async (key: string, field: string, byMs: number) => {
    const value = await redis.client.hget(key, field) ?? ''
    await redis.client.hset(key, field, value.replace(/^\d+ (\d+ \d+ \d+ \d+ \d+) (\d+)/, (_all, head: string, seen: string) => `${'0'.repeat(13)} ${head} ${Number(seen) - byMs}`))
  }

  t.test('creates a session with Redis\'s time, whose key expires with it', async (t) => {
    const token = tokenOf('ada')
    const before = await redis.client.time()
    const { value, ended } = await store.create(token, { ...beginning, document: '{"a":1}' })
    const record = readSessionRecord(value)

    t.same(ended, [])
    t.equal(record.absoluteEndAt - record.createdAt, 12 * hour)
    t.equal(record.idleEndAt - record.createdAt, hour)
    t.ok(record.createdAt >= Number(before[0]) * 1000)
    t.match(record, { version: '1', idleMs: hour, document: '{"a":1}' })
    t.equal(record.label, undefined)
    t.equal(await redis.client.pexpiretime('session:{ada}'), record.idleEndAt)
    t.equal(await redis.client.hget('session:{ada}', token.field), value)
  })

  t.test('never creates two sessions with the same creation time, also right after the first has ended', async (t) => {
    const ended = await begun('twins')
    await store.revoke(ended.key, { which: 'these', names: [ended.createdAt] })
    const { value } = await store.create(tokenOf('twins'), { ...beginning, replaced: ended.createdAt + 5000 })

    t.equal(readSessionRecord(value).createdAt, ended.createdAt + 5001)
  })

  t.test('loads without writing, and writes the last use at most once a minute', async (t) => {
    const token = await begun('grace')
    await redis.client.config('RESETSTAT')
    t.match(await store.load(token).promise(), { touchedAt: undefined, isEarlier: false })
    await shiftSeen(token.key, token.field, 59_000)
    t.match(await store.load(token).promise(), { touchedAt: undefined })
    t.notMatch(await redis.client.info('commandstats'), /cmdstat_(hset:calls=[^1]|pexpireat)/, 'except for the time shift itself')
    await shiftSeen(token.key, token.field, 2000)
    const touched = await store.load(token).promise()
    t.equal(touched?.touchedAt, readSessionRecord(touched?.value ?? '').seenAt)
    t.equal(await redis.client.hget(token.key, token.field), touched?.value)
    t.equal(await redis.client.pexpiretime(token.key), readSessionRecord(touched?.value ?? '').idleEndAt)
    t.match(await store.load(token).promise(), { touchedAt: undefined })
  })

  t.test('writes the last use more often if a session expires within minutes', async (t) => {
    const token = await begun('soon', { idleMs: 5000 })
    const { createdAt = 0 } = readSessionRecord((await store.load(token).promise())?.value ?? '')
    await until(async () => (await store.load(token).promise())?.touchedAt, { what: 'the last use is written after a quarter of the idle timeout' })
    await until(async () => await store.load(token).promise() !== undefined && Number((await redis.client.time())[0]) * 1000 > createdAt + 7500, { what: 'loads keep it alive' })
    t.ok(await store.load(token).promise())
  })

  t.test('ends an idle session, and one beyond its absolute timeout whatever its last use', async (t) => {
    const idle = await begun('idle', { idleMs: 60 })
    const old = await begun('old', { idleMs: 100, absoluteMs: 150 })
    await until(async () => await store.load(old).promise() === undefined, { what: 'the session has ended', everyMs: 15 })
    await until(async () => await redis.client.exists('session:{idle}', 'session:{old}') === 0, { what: 'their keys are deleted' })

    t.same(await store.save(idle, '1', '{}'), { outcome: 'gone' })
    t.equal(await store.rotate(old, tokenOf('old')), undefined)
    t.equal(await redis.client.exists('session:{idle}', 'session:{old}'), 0)
  })

  t.test('judges expiry by the field, not only by the key', async (t) => {
    const long = await begun('two')
    const short = await begun('two', { idleMs: 50 })
    // A load would count as use, and extend the session.
    await until(async () => (await store.list(short.key)).length === 1, { what: 'the short session has ended' })
    t.equal(await store.load(short).promise(), undefined)

    t.same(await store.save(short, '1', '{}'), { outcome: 'gone' })
    t.equal(await store.rotate(short, tokenOf('two')), undefined)
    t.equal((await store.list(short.key)).length, 1)
    t.equal(await redis.client.hlen(short.key), 2)
    await begun('two')
    t.equal(await redis.client.hlen(short.key), 2, 'a sign-in sweeps')
    t.ok(await store.load(long).promise())
  })

  t.test('expires the key with the longest of its sessions', async (t) => {
    const short = await begun('lives', { idleMs: hour / 2 })
    const long = await begun('lives')
    const endOf = async () => Math.round((await redis.client.pttl(short.key)) / 60_000)

    t.equal(await endOf(), 60)
    await store.save(short, '1', '{}')
    t.equal(await endOf(), 60)
    await store.revoke(short.key, { which: 'these', names: [long.field] })
    t.equal(await endOf(), 30)
    await store.revoke(short.key, { which: 'these', names: [short.createdAt] })
    // For some milliseconds the key holds the last creation.
    await until(async () => await redis.client.exists(short.key) === 0, { what: 'the key is deleted' })
  })

  t.test('saves only over the version that was read, returns the current record otherwise, and changes nothing else', async (t) => {
    const token = await begun('saves')
    const saved = await store.save(token, '1', '{"a":2}')
    const conflict = await store.save(token, '1', '{"a":3}')
    const record = readSessionRecord(saved.outcome === 'gone' ? '' : saved.value)

    t.equal(saved.outcome, 'saved')
    t.match(record, { document: '{"a":2}', createdAt: token.createdAt })
    t.same(conflict, { ...saved, outcome: 'conflict' })
  })

  t.test('raises the version by a random step of 1 to 2^20, exactly, also beyond 32 and 46 bits', async (t) => {
    const token = await begun('steps')
    const versions = [1n]
    for (let count = 0; count < 50; count++) {
      const saved = await store.save(token, String(versions.at(-1)), '{}')
      versions.push(BigInt(readSessionRecord(saved.outcome === 'gone' ? '' : saved.value).version))
    }
    const steps = versions.slice(1).map((version, index) => version - (versions[index] ?? 0n))

    t.same(steps.filter((step) => step < 1n || step > 1n << 20n), [])
    t.ok(new Set(steps).size > 40, `${new Set(steps).size} different steps`)
    for (const version of [2n ** 31n - 1n, 2n ** 47n + 1n, 99_999_999_999_999n, 2n ** 53n - 2n ** 21n + 1n]) {
      const value = await redis.client.hget(token.key, token.field) ?? ''
      await redis.client.hset(token.key, token.field, value.replace(/^(\d+) \d+/, `$1 ${version}`))
      const saved = await store.save(token, String(version), '{}')
      const step = BigInt(readSessionRecord(saved.outcome === 'gone' ? '' : saved.value).version) - version

      t.ok(saved.outcome === 'saved' && step >= 1n && step <= 1n << 20n, `${version}: ${saved.outcome}, ${step}`)
    }
  })

  t.test('does not overwrite others\' saves after Redis restarted with an older snapshot, however many saves there were', async (t) => {
    for (const [before, after] of [[1, 1], [1, 2], [2, 3], [3, 3], [5, 4]] as const) {
      const token = await begun(`snapshot-${before}-${after}`)
      const snapshot = await redis.client.hget(token.key, token.field) ?? ''
      const saveOften = async (count: number) => {
        for (let left = count; left > 0; left--) await store.save(token, readSessionRecord(await redis.client.hget(token.key, token.field) ?? '').version, `{"left":${left}}`)
        return readSessionRecord(await redis.client.hget(token.key, token.field) ?? '').version
      }
      const read = await saveOften(before)
      await redis.client.hset(token.key, token.field, snapshot)
      await saveOften(after)

      t.equal((await store.save(token, read, '{"old":true}')).outcome, 'conflict')
    }
  })

  t.test('moves a session unchanged when it rotates', async (t) => {
    const from = await begun('moves')
    const before = await redis.client.hget(from.key, from.field)
    const to = tokenOf('moves')
    const rotated = await store.rotate(from, to)

    t.equal(rotated?.value, before)
    t.same(await redis.client.hgetall(from.key), { [to.field]: before })
    t.equal(await store.rotate(from, tokenOf('moves')), undefined)
  })

  t.test('finds a session by either of two IDs', async (t) => {
    const from = await begun('either')
    const to = tokenOf('either')
    const uncertain = { ...to, previousId: from }

    t.match(await store.load(uncertain).promise(), { isEarlier: true })
    await store.rotate(from, to)
    t.match(await store.load(uncertain).promise(), { isEarlier: false })
  })

  t.test('replaces the least recently used device by the eleventh', async (t) => {
    const tokens = []
    for (let count = 0; count < 10; count++) tokens.push(await begun('eleven'))
    await shiftSeen(tokens[4]!.key, tokens[4]!.field, 5000)
    const { ended } = await store.create(tokenOf('eleven'), beginning)

    t.match(ended, [{ field: tokens[4]?.field, createdAt: tokens[4]?.createdAt }])
    t.equal(await redis.client.hlen('session:{eleven}'), 10)
  })

  t.test('stores document and label exactly, whatever characters they contain', async (t) => {
    const document = JSON.stringify({ text: ' = \n\0 é 😀 "\\ %d %s 1 2 3 =x ' })
    const label = ' =Über 100 % – "ok" 😀'
    const token = await begun('odd', { document, label: label as never })
    const saved = await store.save(token, '1', document)

    t.match(readSessionRecord(saved.outcome === 'gone' ? '' : saved.value), { document, label })
    t.equal(readSessionRecord((await store.load(token).promise())?.value ?? '').document, document)
    t.equal(readSessionRecord((await store.list(token.key))[0] ?? '').label, label)
    t.equal(writeLabel(undefined), '=')
    t.throws(() => readSessionRecord('1 2 3'), { code: 'PRISM_ERR_SESSION_CORRUPT' })
  })

  t.test('stores one device of a user with an empty document in few bytes', async (t) => {
    const token = await begun('7f3b1c52-9a54-4a6e-8f0e-0c7d6f1d2b3a', { document: '{}' })
    const value = await redis.client.hget(token.key, token.field) ?? ''

    t.ok(token.field.length + value.length < 120, `${token.field.length + value.length} bytes`)
  })
})
