import { floatOf, integerOf, latin1, OptionReader, syntaxError, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { DoubleReply, ErrorReply } from '../reply.ts'
import type { Reply } from '../reply.ts'
import { SortedSet } from '../sorted-set.ts'
import type { Member } from '../sorted-set.ts'

function read ({ args, keyspace }: Call): SortedSet {
  return keyspace.sortedSet(latin1(args[0])) ?? new SortedSet()
}

/** A score with `(` before it is not part of the range. */
interface Bound { readonly score: number, readonly isExcluded: boolean }

function boundOf (arg: Buffer | undefined): Bound {
  const text = latin1(arg)
  const isExcluded = text.startsWith('(')
  const number = isExcluded ? text.slice(1) : text
  return { score: number === '' ? 0 : floatOf(number, 'ERR min or max is not a float'), isExcluded } // as strtod
}

function within (members: readonly Member[], min: Bound, max: Bound): Member[] {
  return members.filter(({ score }) => (min.isExcluded ? score > min.score : score >= min.score) && (max.isExcluded ? score < max.score : score <= max.score))
}

interface AddOptions { readonly flags: ReadonlySet<string>, readonly pairs: readonly (readonly [score: number, name: string])[] }

const addFlags = ['NX', 'XX', 'GT', 'LT', 'CH', 'INCR']

function readAdd (args: readonly Buffer[]): AddOptions {
  let index = 1
  while (addFlags.includes(word(args[index]))) index += 1
  const flags = new Set(args.slice(1, index).map(word))
  const rest = args.slice(index)
  if (rest.length === 0 || rest.length % 2 === 1) throw new ErrorReply(syntaxError)
  if (flags.has('NX') && flags.has('XX')) throw new ErrorReply('ERR XX and NX options at the same time are not compatible')
  if ((flags.has('GT') && flags.has('LT')) || (flags.has('NX') && (flags.has('GT') || flags.has('LT')))) throw new ErrorReply('ERR GT, LT, and/or NX options at the same time are not compatible')
  if (flags.has('INCR') && rest.length > 2) throw new ErrorReply('ERR INCR option supports a single increment-element pair')
  const pairs = Array.from({ length: rest.length / 2 }, (_, pair) => [floatOf(latin1(rest[2 * pair])), latin1(rest[2 * pair + 1])] as const)
  return { flags, pairs }
}

/** The score that a member gets; undefined if the flags forbid it. */
function newScore (before: number | undefined, given: number, flags: ReadonlySet<string>): number | undefined {
  if (before === undefined) return flags.has('XX') ? undefined : given
  const score = flags.has('INCR') ? before + given : given
  if (Number.isNaN(score)) throw new ErrorReply('ERR resulting score is not a number (NaN)')
  return flags.has('NX') || (flags.has('GT') && score <= before) || (flags.has('LT') && score >= before) ? undefined : score
}

function add (call: Call): Reply {
  const { args, keyspace } = call
  const { flags, pairs } = readAdd(args)
  const set = read(call)
  let [added, changed, last]: [number, number, number | undefined] = [0, 0, undefined]
  for (const [given, name] of pairs) {
    const before = set.score(name)
    last = newScore(before, given, flags)
    if (last === undefined || last === before) continue
    set.set(name, last)
    if (before === undefined) added += 1
    changed += 1
  }
  if (changed > 0) keyspace.put(latin1(args[0]), set)
  if (flags.has('INCR')) return last === undefined ? null : new DoubleReply(last)
  return flags.has('CH') ? changed : added
}

function remove ({ args, keyspace }: Call, set: SortedSet, names: readonly string[]): Reply {
  const removed = names.filter((name) => set.delete(name)).length
  if (removed > 0) keyspace.shrunk(latin1(args[0]), set.size === 0)
  return removed
}

interface RangeOptions { by: 'rank' | 'score', isReversed: boolean, hasScores: boolean, offset: number, count: number }

function readRange (options: OptionReader, found: RangeOptions): RangeOptions {
  let hasLimit = false
  while (!options.isAtEnd) {
    const name = options.next()
    if (name === 'BYSCORE') found.by = 'score'
    else if (name === 'REV') found.isReversed = true
    else if (name === 'WITHSCORES') found.hasScores = true
    else if (name === 'LIMIT') {
      hasLimit = true
      found.offset = integerOf(options.value())
      found.count = integerOf(options.value())
    } else throw new ErrorReply(syntaxError)
  }
  if (hasLimit && found.by === 'rank') throw new ErrorReply('ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX')
  return found
}

function range (call: Call, { by, isReversed, hasScores, offset, count }: RangeOptions): Reply {
  const { args } = call
  const [from, to] = [args[1], args[2]]
  const bounds = by === 'score' ? [boundOf(isReversed ? to : from), boundOf(isReversed ? from : to)] as const : undefined
  const ranks = bounds === undefined ? [integerOf(from), integerOf(to)] as const : undefined
  const { members } = read(call)
  const ordered = isReversed ? members.toReversed() : members
  const found = ranks !== undefined ? byRank(ordered, ...ranks) : within(ordered, ...bounds as [Bound, Bound]).slice(Math.max(0, offset))
  return replyOf(offset < 0 ? [] : count < 0 ? found : found.slice(0, count), hasScores, call.protocol)
}

function byRank (members: readonly Member[], from: number, to: number): Member[] {
  const at = (rank: number) => rank < 0 ? members.length + rank : rank
  return members.slice(Math.max(0, at(from)), at(to) < 0 ? 0 : at(to) + 1)
}

function replyOf (members: readonly Member[], hasScores: boolean, protocol: 2 | 3): Reply {
  const pairs = members.map(({ name, score }) => [Buffer.from(name, 'latin1'), new DoubleReply(score)])
  if (!hasScores) return pairs.map(([name]) => name as Buffer)
  return protocol === 3 ? pairs : pairs.flat()
}

function defaults (by: 'rank' | 'score', isReversed: boolean): RangeOptions {
  return { by, isReversed, hasScores: false, offset: 0, count: -1 }
}

function rangeCommand (by: 'rank' | 'score', isReversed: boolean): Command {
  return command(3, many, (call) => range(call, readRange(new OptionReader(call.args, 3), defaults(by, isReversed))))
}

export const sortedSets: Readonly<Record<string, Command>> = {
  zadd: command(3, many, add),
  zincrby: command(3, 3, (call) => add({ ...call, args: [call.args[0], Buffer.from('INCR'), ...call.args.slice(1)] as Buffer[] })),
  zrem: command(2, many, (call) => remove(call, read(call), call.args.slice(1).map(latin1))),
  zcard: command(1, 1, (call) => read(call).size),
  zscore: command(2, 2, (call) => {
    const score = read(call).score(latin1(call.args[1]))
    return score === undefined ? null : new DoubleReply(score)
  }),
  zcount: command(3, 3, (call) => {
    const [min, max] = [boundOf(call.args[1]), boundOf(call.args[2])]
    return within(read(call).members, min, max).length
  }),
  zrange: rangeCommand('rank', false),
  zrevrange: rangeCommand('rank', true),
  zrangebyscore: rangeCommand('score', false),
  zrevrangebyscore: rangeCommand('score', true),
  zremrangebyscore: command(3, 3, (call) => {
    const [min, max] = [boundOf(call.args[1]), boundOf(call.args[2])]
    const set = read(call)
    return remove(call, set, within(set.members, min, max).map(({ name }) => name))
  }),
  zremrangebyrank: command(3, 3, (call) => {
    const [from, to] = [integerOf(call.args[1]), integerOf(call.args[2])]
    const set = read(call)
    return remove(call, set, byRank(set.members, from, to).map(({ name }) => name))
  })
}
