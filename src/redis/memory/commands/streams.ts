import { bigIntegerOf, integerOf, latin1, OptionReader, syntaxError, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { ErrorReply, MapReply, NullArray } from '../reply.ts'
import type { Reply } from '../reply.ts'
import { maxStreamId, Stream } from '../stream.ts'
import type { StreamEntry, Trim } from '../stream.ts'

const invalidId = 'ERR Invalid stream ID specified as stream command argument'
const zeroId = 'ERR The ID specified in XADD must be greater than 0-0'
const tooSmall = 'ERR The ID specified in XADD is equal or smaller than the target stream top item'
const maxSequence = (1n << 64n) - 1n

/** Parses `<ms>-<sequence>`, or `<ms>` with the given sequence. @throws {ErrorReply} */
function idOf (text: string, sequence: bigint): bigint {
  const [, ms, seq] = /^(\d{1,20})(?:-(\d{1,20}))?$/.exec(text) ?? []
  if (ms === undefined) throw new ErrorReply(invalidId)
  const [high, low] = [BigInt(ms), seq === undefined ? sequence : BigInt(seq)]
  if (high > maxSequence || low > maxSequence) throw new ErrorReply(invalidId)
  return (high << 64n) | low
}

function formatId (id: bigint): Buffer {
  return Buffer.from(`${id >> 64n}-${id & maxSequence}`)
}

function readStream ({ args, keyspace }: Call): Stream {
  return keyspace.stream(latin1(args[0])) ?? new Stream()
}

/** The next ID of a stream: `*`, `<ms>-*` or a given one. @throws {ErrorReply} */
function nextId (text: string, { lastId, size }: Stream, nowMs: number): bigint {
  const [, ms] = /^(\d{1,20})-\*$/.exec(text) ?? []
  if (text === '*' || ms !== undefined) {
    const least = BigInt(ms ?? nowMs) << 64n
    if (ms !== undefined && least >> 64n < lastId >> 64n) throw new ErrorReply(tooSmall)
    const isFirst = least >> 64n > lastId >> 64n
    const id = isFirst ? least : lastId + 1n
    if (ms !== undefined && id >> 64n !== least >> 64n) throw new ErrorReply(tooSmall)
    return ms === '0' && isFirst && size === 0 ? 1n : id === 0n ? 1n : id
  }
  const id = idOf(text, 0n)
  if (id <= lastId) throw new ErrorReply(tooSmall)
  return id
}

interface AddOptions { trim?: Trim, createsStream: boolean, id: string }

function readTrim (by: Trim['by'], options: OptionReader): Trim {
  const isApproximate = options.accept('~') || (options.accept('='), false)
  const text = options.value()
  const limit = by === 'MINID' ? idOf(latin1(text), 0n) : bigIntegerOf(text)
  if (limit < 0n) throw new ErrorReply('ERR The MAXLEN argument must be >= 0.')
  if (!options.accept('LIMIT')) return { by, limit, isApproximate }
  if (!isApproximate) throw new ErrorReply('ERR syntax error, LIMIT cannot be used without the special ~ option')
  return { by, limit, isApproximate, most: integerOf(options.value()) }
}

function readAdd (options: OptionReader): AddOptions {
  const found: AddOptions = { createsStream: true, id: '' }
  while (found.id === '') {
    const arg = options.value()
    const name = word(arg)
    if (name === 'NOMKSTREAM') found.createsStream = false
    else if (name === 'MAXLEN' || name === 'MINID') found.trim = readTrim(name, options)
    else found.id = latin1(arg)
  }
  return found
}

function add (call: Call): Reply {
  const { args, keyspace, server } = call
  const options = new OptionReader(args, 1)
  const { trim, createsStream, id: text } = readAdd(options)
  const fields: Buffer[] = []
  while (!options.isAtEnd) fields.push(Buffer.from(options.value()))
  if (fields.length === 0 || fields.length % 2 === 1) throw new ErrorReply("ERR wrong number of arguments for 'xadd' command")
  if (text !== '*' && !/^\d{1,20}-\*$/.test(text) && idOf(text, 0n) === 0n) throw new ErrorReply(zeroId)
  const stream = keyspace.stream(latin1(args[0]))
  if (stream === undefined && !createsStream) return null
  const target = stream ?? new Stream()
  const id = nextId(text, target, server.nowMs)
  target.add({ id, fields })
  keyspace.put(latin1(args[0]), target)
  if (trim !== undefined) target.trim(trim)
  return formatId(id)
}

function edgeOf (arg: Buffer | undefined, edge: 'start' | 'end'): bigint {
  const text = latin1(arg)
  if (text === '-') return 0n
  if (text === '+') return maxStreamId
  const id = idOf(text.startsWith('(') ? text.slice(1) : text, edge === 'start' ? 0n : maxSequence)
  if (!text.startsWith('(')) return id
  const beside = edge === 'start' ? id + 1n : id - 1n
  if (beside < 0n || beside > maxStreamId) throw new ErrorReply(`ERR invalid ${edge} ID for the interval`)
  return beside
}

const replyOf = ({ id, fields }: StreamEntry): Reply => [formatId(id), fields]

function rangeCommand (isReversed: boolean): Command {
  return command(3, 5, (call) => {
    const { args } = call
    const [from, to] = [edgeOf(args[isReversed ? 2 : 1], 'start'), edgeOf(args[isReversed ? 1 : 2], 'end')]
    const options = new OptionReader(args, 3)
    const count = options.accept('COUNT') ? integerOf(options.value()) : Infinity
    if (!options.isAtEnd) throw new ErrorReply(syntaxError)
    const stream = call.keyspace.stream(latin1(args[0]))
    if (stream === undefined) return []
    return count <= 0 ? new NullArray() : stream.range(from, to, { count, isReversed }).map(replyOf)
  })
}

/** XREAD without BLOCK. */
function read ({ args, keyspace, protocol }: Call): Reply {
  const options = new OptionReader(args, 0)
  let count = Infinity
  while (!options.accept('STREAMS')) {
    const name = options.next()
    if (name === 'BLOCK') throw new ErrorReply("ERR redis: 'memory' does not implement BLOCK")
    if (name !== 'COUNT') throw new ErrorReply(syntaxError)
    count = integerOf(options.value())
  }
  const rest: Buffer[] = []
  while (!options.isAtEnd) rest.push(options.value())
  if (rest.length === 0 || rest.length % 2 === 1) throw new ErrorReply("ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.")
  const found = rest.slice(0, rest.length / 2).flatMap((key, index) => {
    const stream = keyspace.stream(latin1(key))
    const from = latin1(rest[rest.length / 2 + index])
    const entries = stream === undefined || from === '$' ? [] : stream.range(idOf(from, 0n) + 1n, maxStreamId, { count })
    return entries.length === 0 ? [] : [[key, entries.map(replyOf)]]
  })
  if (found.length === 0) return new NullArray()
  return protocol === 3 ? new MapReply(found.flat()) : found
}

function trimCommand (call: Call): Reply {
  const options = new OptionReader(call.args, 1)
  const by = options.next()
  if (by !== 'MAXLEN' && by !== 'MINID') throw new ErrorReply(syntaxError)
  const trim = readTrim(by, options)
  if (!options.isAtEnd) throw new ErrorReply(syntaxError)
  const removed = readStream(call).trim(trim)
  if (removed > 0) call.keyspace.changed(latin1(call.args[0]))
  return removed
}

export const streams: Readonly<Record<string, Command>> = {
  xadd: command(4, many, add),
  xlen: command(1, 1, (call) => readStream(call).size),
  xrange: rangeCommand(false),
  xrevrange: rangeCommand(true),
  xread: command(3, many, read),
  xtrim: command(3, many, trimCommand),
  xdel: command(2, many, (call) => {
    const stream = call.keyspace.stream(latin1(call.args[0]))
    if (stream === undefined) return 0
    const ids = call.args.slice(1).map((arg) => idOf(latin1(arg), 0n))
    const deleted = ids.filter((id) => stream.delete(id)).length
    if (deleted > 0) call.keyspace.changed(latin1(call.args[0]))
    return deleted
  })
}
