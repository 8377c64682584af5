import { bigIntegerOf, integerOf, latin1, OptionReader, syntaxError } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { ErrorReply, ok } from '../reply.ts'
import type { Reply } from '../reply.ts'
import { expiryOf } from './expiry.ts'

interface SetOptions { condition?: 'NX' | 'XX' | undefined, expiresAt: number | undefined, returnsOld: boolean }

/** An option may be repeated; of two expiries only one unit may be given. */
function readSetOptions (args: readonly Buffer[], nowMs: number): SetOptions {
  const options = new OptionReader(args, 2)
  const found: SetOptions = { expiresAt: Infinity, returnsOld: false }
  let [unit, value]: [string | undefined, Buffer | undefined] = [undefined, undefined]
  while (!options.isAtEnd) {
    const name = options.next()
    if (name === 'GET') found.returnsOld = true
    else if ((name === 'NX' || name === 'XX') && found.condition !== (name === 'NX' ? 'XX' : 'NX')) found.condition = name
    else if (['EX', 'PX', 'EXAT', 'PXAT', 'KEEPTTL'].includes(name) && (unit ?? name) === name) {
      unit = name
      if (name !== 'KEEPTTL') value = options.value()
    } else throw new ErrorReply(syntaxError)
  }
  if (unit !== undefined) found.expiresAt = value === undefined ? undefined : expiryOf(unit, value, nowMs, 'set')
  return found
}

function set ({ args, keyspace, server }: Call): Reply {
  const { condition, expiresAt, returnsOld } = readSetOptions(args, server.nowMs)
  const key = latin1(args[0])
  const old = returnsOld ? keyspace.string(key) ?? null : null
  const exists = keyspace.find(key) !== undefined
  if ((condition === 'NX' && exists) || (condition === 'XX' && !exists)) return returnsOld ? old : null
  keyspace.put(key, Buffer.from(args[1] as Buffer), expiresAt)
  return returnsOld ? old : ok
}

function setWithExpiry (unit: 'EX' | 'PX', name: string): Command {
  return command(3, 3, ({ args: [key, ttl, value], keyspace, server }) => {
    keyspace.put(latin1(key), Buffer.from(value as Buffer), expiryOf(unit, ttl as Buffer, server.nowMs, name))
    return ok
  })
}

/** Reads a value and counts a hit or a miss, as `INFO` reports them. */
function read ({ keyspace, server }: Call, key: string): Buffer | null {
  const value = keyspace.string(key)
  server.counts[value === undefined ? 'misses' : 'hits'] += 1
  return value ?? null
}

function mget (call: Call): Reply {
  return call.args.map((arg) => {
    const value = call.keyspace.find(latin1(arg))?.value
    return Buffer.isBuffer(value) ? read(call, latin1(arg)) : null
  })
}

const maxInteger = 2n ** 63n - 1n

function increaseBy ({ args, keyspace }: Call, change: bigint): Reply {
  const key = latin1(args[0])
  const before = keyspace.string(key)
  const value = (before === undefined ? 0n : bigIntegerOf(before)) + change
  if (value > maxInteger || value < -maxInteger - 1n) throw new ErrorReply('ERR increment or decrement would overflow')
  keyspace.put(key, Buffer.from(String(value)))
  return value
}

function append ({ args: [name, more], keyspace }: Call): Reply {
  const key = latin1(name)
  const value = Buffer.concat([keyspace.string(key) ?? Buffer.alloc(0), more as Buffer])
  keyspace.put(key, value)
  return value.length
}

function getRange ({ args, keyspace }: Call): Reply {
  const [start, end] = [integerOf(args[1]), integerOf(args[2])]
  const value = keyspace.string(latin1(args[0])) ?? Buffer.alloc(0)
  if (start < 0 && end < 0 && start > end) return Buffer.alloc(0)
  const first = Math.max(0, start < 0 ? value.length + start : start)
  const last = Math.min(value.length - 1, Math.max(0, end < 0 ? value.length + end : end))
  return first > last ? Buffer.alloc(0) : Buffer.from(value.subarray(first, last + 1))
}

const maxBytes = 512 * 1024 * 1024

function setRange ({ args, keyspace }: Call): Reply {
  const [key, offset, part] = [latin1(args[0]), integerOf(args[1]), args[2] as Buffer]
  if (offset < 0) throw new ErrorReply('ERR offset is out of range')
  const before = keyspace.string(key) ?? Buffer.alloc(0)
  if (part.length === 0) return before.length
  if (offset + part.length > maxBytes) throw new ErrorReply('ERR string exceeds maximum allowed size (proto-max-bulk-len)')
  const value = Buffer.alloc(Math.max(before.length, offset + part.length))
  before.copy(value)
  part.copy(value, offset)
  keyspace.put(key, value)
  return value.length
}

function mset ({ args, keyspace }: Call): Reply {
  if (args.length % 2 === 1) throw new ErrorReply("ERR wrong number of arguments for 'mset' command")
  for (let index = 0; index < args.length; index += 2) keyspace.put(latin1(args[index]), Buffer.from(args[index + 1] as Buffer), Infinity)
  return ok
}

function getAndDelete (call: Call): Reply {
  const value = read(call, latin1(call.args[0]))
  call.keyspace.delete(latin1(call.args[0]))
  return value
}

function getAndExpire (call: Call): Reply {
  const { args, keyspace, server } = call
  const options = new OptionReader(args, 1)
  const name = options.isAtEnd ? undefined : options.next()
  if (name !== undefined && !['EX', 'PX', 'EXAT', 'PXAT', 'PERSIST'].includes(name)) throw new ErrorReply(syntaxError)
  const time = name === undefined || name === 'PERSIST' ? undefined : options.value()
  if (!options.isAtEnd) throw new ErrorReply(syntaxError)
  const value = read(call, latin1(args[0]))
  if (value === null || name === undefined) return value
  keyspace.put(latin1(args[0]), value, time === undefined ? Infinity : expiryOf(name, time, server.nowMs, 'getex'))
  return value
}

export const strings: Readonly<Record<string, Command>> = {
  get: command(1, 1, (call) => read(call, latin1(call.args[0]))),
  mget: command(1, many, mget),
  set: command(2, many, set),
  mset: command(2, many, mset),
  setex: setWithExpiry('EX', 'setex'),
  psetex: setWithExpiry('PX', 'psetex'),
  setnx: command(2, 2, ({ args, keyspace }) => {
    if (keyspace.find(latin1(args[0])) !== undefined) return 0
    keyspace.put(latin1(args[0]), Buffer.from(args[1] as Buffer), Infinity)
    return 1
  }),
  getset: command(2, 2, (call) => {
    const old = read(call, latin1(call.args[0]))
    call.keyspace.put(latin1(call.args[0]), Buffer.from(call.args[1] as Buffer), Infinity)
    return old
  }),
  getdel: command(1, 1, getAndDelete),
  getex: command(1, 3, getAndExpire),
  append: command(2, 2, append),
  strlen: command(1, 1, ({ args, keyspace }) => keyspace.string(latin1(args[0]))?.length ?? 0),
  getrange: command(3, 3, getRange),
  setrange: command(3, 3, setRange),
  incr: command(1, 1, (call) => increaseBy(call, 1n)),
  decr: command(1, 1, (call) => increaseBy(call, -1n)),
  incrby: command(2, 2, (call) => increaseBy(call, bigIntegerOf(call.args[1]))),
  decrby: command(2, 2, (call) => {
    const decrease = bigIntegerOf(call.args[1])
    if (decrease < -maxInteger) throw new ErrorReply('ERR decrement would overflow')
    return increaseBy(call, -decrease)
  })
}
