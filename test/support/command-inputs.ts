import type { Random } from './random.ts'

type Arg = string | number | Buffer
export type RandomCommand = (random: Random) => [name: string, ...args: Arg[]]

const key = (random: Random) => random.pick(['k1', 'k2', 'k3', 'k4'])
const typed = (type: string) => (random: Random) => random.isChosen(0.93) ? `${type}${random.integer(1, 2)}` : key(random)
const [text, hash, zset, stream, set, list] = ['text', 'hash', 'zset', 'stream', 'set', 'list'].map(typed) as [typeof key, typeof key, typeof key, typeof key, typeof key, typeof key]
const value = (random: Random): Arg => random.pick(['', 'a', '12', '-7', '9223372036854775807', 'nine', 'x'.repeat(70), Buffer.from([0, 255, 13, 10, 128]), '3.5'])
const field = (random: Random): Arg => random.pick(['f1', 'f2', 'f3', '', Buffer.from([200, 0])])
const position = (random: Random) => random.pick([0, 1, 2, 5, 100, -1, -2, -100])
const integer = (random: Random) => random.pick<Arg>([0, 1, -3, 1000, '9223372036854775807', '-9223372036854775808', '007', '1.5', 'x', ' 1', ''])
/** Far apart and far away: no key expires during the comparison, unless its expiry is in the past. */
const seconds = (random: Random) => random.pick<Arg>([1000, 5000, 90_000, 0, -5, '99999999999999999', 'x'])
const milliseconds = (random: Random) => random.pick<Arg>([1_000_000, 5_000_000, 90_000_000, 0, -5, '9223372036854775807', 'x'])
const instant = (random: Random) => random.pick<Arg>([4_000_000_000, 5_000_000_000, 1000, -1, 0])
const instantMs = (random: Random) => random.pick<Arg>([4_000_000_000_000, 5_000_000_000_000, 1000, -1, 0])
const condition = (random: Random) => random.list(0, 2, () => random.pick(['NX', 'XX', 'GT', 'LT', 'xx', 'BAD']))
const score = (random: Random) => random.pick<Arg>([0, 1, 2, -1, 1.5, 'inf', '-inf', '+inf', '1e3', 'x', '', 1_700_000_000_000])
const bound = (random: Random) => random.pick<Arg>([0, 1, '(1', '(0', '-inf', '+inf', 2, '(inf', 'x', '('])
const member = (random: Random): Arg => random.pick(['m1', 'm2', 'm3', 'M', Buffer.from([255])])
const streamId = (random: Random) => random.pick(['-', '+', '0', '5-1', '(5-1', '5', '10-3', '(10-3', '99999999999999999999-1', 'x', '18446744073709551615-18446744073709551615', '(18446744073709551615-18446744073709551615', '(0-0'])
const newId = (random: Random) => random.pick(['5-1', `${random.integer(1, 40)}-${random.integer(0, 5)}`, `${random.integer(1, 40)}-*`, '0-0', '0-*', 'x', '4000000000000-0'])
const limit = (random: Random) => random.isChosen(0.3) ? ['LIMIT', random.pick([0, 1, -1]), random.pick([0, 1, 2, -1])] : []
const any = (random: Random) => random.pick([key, text, hash, zset, stream, set, list])(random)
const scores = (random: Random) => random.isChosen(0.5) ? ['WITHSCORES'] : []
const trim = (random: Random) => [random.pick(['MAXLEN', 'MINID']), ...random.pick([[], ['~'], ['=']]), random.pick([0, 1, 5, 120, -1, 'x'])]

/** What a random call of each command of the in-memory server looks like, also with arguments that are wrong. */
export const randomCommands: readonly RandomCommand[] = [
  (random) => ['get', any(random)],
  (random) => ['mget', ...random.list(1, 4, () => any(random))],
  (random) => ['set', text(random), value(random), ...random.list(0, 3, () => random.pick<Arg[]>([['NX'], ['XX'], ['GET'], ['KEEPTTL'], ['EX', seconds(random)], ['PX', milliseconds(random)], ['PXAT', 4_000_000_000_000], ['EXAT', 4_000_000_000], ['BAD'], ['PX']])).flat()],
  (random) => ['mset', ...random.list(1, 3, () => [text(random), value(random)]).flat()],
  (random) => ['setex', text(random), seconds(random), value(random)],
  (random) => ['psetex', text(random), milliseconds(random), value(random)],
  (random) => ['setnx', text(random), value(random)],
  (random) => ['getset', text(random), value(random)],
  (random) => ['getdel', text(random)],
  (random) => ['getex', text(random), ...random.pick<Arg[]>([[], ['PERSIST'], ['PX', milliseconds(random)], ['EX', seconds(random)], ['BAD']])],
  (random) => ['append', text(random), value(random)],
  (random) => ['strlen', any(random)],
  (random) => ['getrange', text(random), position(random), position(random)],
  (random) => ['setrange', text(random), random.pick<Arg>([0, 1, 5, 80, -1, 'x']), value(random)],
  (random) => [random.pick(['incr', 'decr']), text(random)],
  (random) => [random.pick(['incrby', 'decrby']), text(random), integer(random)],
  (random) => ['expire', any(random), seconds(random), ...condition(random)],
  (random) => ['pexpire', any(random), milliseconds(random), ...condition(random)],
  (random) => ['expireat', any(random), instant(random), ...condition(random)],
  (random) => ['pexpireat', any(random), instantMs(random), ...condition(random)],
  (random) => [random.pick(['ttl', 'expiretime']), any(random)],
  (random) => ['persist', any(random)],
  (random) => [random.pick(['del', 'unlink']), any(random)],
  (random) => [random.pick(['exists', 'touch']), any(random), any(random)],
  (random) => ['type', any(random)],
  (random) => ['rename', any(random), any(random)],
  (random) => ['hset', hash(random), ...random.list(1, 3, () => [field(random), value(random)]).flat()],
  (random) => ['hset', hash(random), 'f1', 'v', 'f2'],
  (random) => ['hmset', hash(random), field(random), value(random)],
  (random) => ['hsetnx', hash(random), field(random), value(random)],
  (random) => ['hget', hash(random), field(random)],
  (random) => ['hmget', hash(random), field(random), field(random)],
  (random) => ['hdel', hash(random), ...random.list(1, 3, () => field(random))],
  (random) => ['hexists', hash(random), field(random)],
  (random) => [random.pick(['hlen', 'hkeys', 'hvals', 'hgetall']), hash(random)],
  (random) => ['hstrlen', hash(random), field(random)],
  (random) => ['hincrby', hash(random), random.pick(['n', 'f1']), integer(random)],
  (random) => ['zadd', zset(random), ...random.list(0, 2, () => random.pick(['NX', 'XX', 'GT', 'LT', 'CH', 'INCR'])), ...random.list(1, 3, () => [score(random), member(random)]).flat()],
  (random) => ['zincrby', zset(random), score(random), member(random)],
  (random) => ['zrem', zset(random), member(random), member(random)],
  (random) => ['zcard', zset(random)],
  (random) => ['zscore', zset(random), member(random)],
  (random) => ['zcount', zset(random), bound(random), bound(random)],
  (random) => ['zrange', zset(random), position(random), position(random), ...random.pick([[], ['REV']]), ...scores(random)],
  (random) => ['zrange', zset(random), bound(random), bound(random), 'BYSCORE', ...random.pick([[], ['REV']]), ...limit(random), ...scores(random)],
  (random) => ['zrevrange', zset(random), position(random), position(random), ...scores(random)],
  (random) => [random.pick(['zrangebyscore', 'zrevrangebyscore']), zset(random), bound(random), bound(random), ...scores(random), ...limit(random)],
  (random) => ['zremrangebyscore', zset(random), bound(random), bound(random)],
  (random) => ['zremrangebyrank', zset(random), position(random), position(random)],
  (random) => ['xadd', stream(random), ...random.isChosen(0.4) ? trim(random) : [], newId(random), ...random.list(1, 2, () => [field(random), value(random)]).flat()],
  (random) => ['xadd', stream(random), 'NOMKSTREAM', newId(random), 'f', 'v'],
  // Its last ID is in the future, so that a generated one follows it on both servers.
  (random) => ['xadd', 'future', ...random.isChosen(0.4) ? trim(random) : [], random.pick(['*', '4000000000000-0', '4000000000000-*']), 'f', value(random)],
  (random) => ['xlen', stream(random)],
  (random) => [random.pick(['xrange', 'xrevrange']), stream(random), streamId(random), streamId(random), ...random.pick<Arg[]>([[], ['COUNT', 2], ['COUNT', 0], ['COUNT', 'x']])],
  (random) => ['xread', ...random.pick<Arg[]>([[], ['COUNT', 1]]), 'STREAMS', stream(random), random.pick(['0', '5-1', '$'])],
  (random) => ['xtrim', stream(random), ...trim(random)],
  (random) => ['xdel', stream(random), random.pick(['5-1', '10-3', '7-0', 'x'])],
  (random) => ['sadd', set(random), member(random), member(random)],
  (random) => ['srem', set(random), member(random)],
  (random) => ['sismember', set(random), member(random)],
  (random) => ['scard', set(random)],
  (random) => [random.pick(['lpush', 'rpush']), list(random), value(random), value(random)],
  (random) => [random.pick(['lpop', 'rpop']), list(random), ...random.pick<Arg[]>([[], [2], [0], [-1]])],
  (random) => ['llen', list(random)],
  (random) => ['lrange', list(random), position(random), position(random)],
  (random) => ['ltrim', list(random), position(random), position(random)],
  () => ['dbsize'],
  (random) => ['ping', ...random.pick([[], ['hello']])],
  (random) => ['echo', value(random)],
  (random) => ['publish', 'channel', value(random)],
  (random) => ['eval', 'return {KEYS[1], ARGV[1], #ARGV}', random.pick<Arg>([0, 1, 2, 5, -1, 'x']), text(random), value(random)],
  (random) => ['eval', random.pick(scripts), 1, any(random), value(random)],
  (random) => ['evalsha', random.pick(['0000000000000000000000000000000000000000', 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db']), 0],
  () => ['script', 'exists', 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db'],
  (random) => [random.pick(['get', 'hset', 'zadd', 'xadd', 'pexpire', 'set', 'eval'])]
]

/** Results of each type that a script can have, and what scripts do with numbers. */
const scripts = [
  "return redis.call('GET', KEYS[1])",
  "return redis.pcall('GET', KEYS[1])",
  "return { 1, 2.9, -2.9, 'text', true, false, { 'nested', { 3 } }, nil, 4 }",
  "return { ok = 'FINE' }",
  "return { err = 'CODE message' }",
  "return redis.error_reply('CODE message')",
  "return redis.status_reply('FINE')",
  'return redis.sha1hex(ARGV[1])',
  "return cjson.encode({ 1, 'a', { b = 1.5 } })",
  "return cjson.decode('[1,\"a\",null]')[2]",
  "return tostring(1795913411721) .. ' ' .. tostring(2 ^ 53) .. ' ' .. tostring(0.1) .. ' ' .. 10 / 2",
  "return string.format('%d %05d %-4d| %+d %i %s %.2f %%', 1795913411721, 42, 7, 3.9, -2 ^ 40 - 0.5, 'x', 2.345)",
  "return string.format('%013d', 1795913411721.9) .. string.format('%d', '12')",
  "return struct.pack('>BI4I6d', 115, 4294967295, 1795913411721, 0.1)",
  "return struct.pack('<I8i6hB', 2 ^ 52 + 1, -1795913411721, -2, 255)",
  "return { struct.unpack('>BI4I6d', struct.pack('>BI4I6d', 1, 2, 1795913411721, -1)) }",
  "return { struct.unpack('<I8i6l', struct.pack('<I8i6l', 2 ^ 52, -1795913411721, -9)) }",
  "return struct.size('>BI4I6dl')",
  "return { struct.unpack('>I6I4', ARGV[1] .. string.rep('\\1', 20), 3) }",
  'local t = { 3, 1, 2 } table.sort(t) return t',
  "return { string.match('12 34', '^(%d+) (%d+)$') }",
  "return { redis.call('TYPE', KEYS[1]).ok, type(redis.call('GET', 'missing')) }",
  "redis.call('SET', 'text1', ARGV[1]) return redis.call('STRLEN', 'text1')",
  "return redis.call('HGETALL', 'hash1')",
  "return redis.call('ZRANGE', 'zset1', 0, -1, 'WITHSCORES')",
  "return redis.call('ZADD', 'zset2', 1795913411721, 'n')",
  "return type(redis.pcall('HGET', 'text1', 'f'))",
  "return tonumber('0x10') + tonumber('1e3') + math.floor(-1.5) + math.max(1, 7)",
  'return #KEYS + #ARGV',
  'return nil'
]
