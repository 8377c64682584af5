import { bigIntegerOf, integerOf, latin1, OptionReader, syntaxError, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { bytesOf, typeOf } from '../keyspace.ts'
import { matchesPattern } from '../pubsub.ts'
import { bulk, ErrorReply, ok, Status } from '../reply.ts'
import type { Reply } from '../reply.ts'

const bytes = (key: string) => Buffer.from(key, 'latin1')

function remove ({ args, keyspace }: Call): Reply {
  return args.filter((key) => keyspace.delete(latin1(key))).length
}

function count ({ args, keyspace }: Call): Reply {
  return args.filter((key) => keyspace.find(latin1(key)) !== undefined).length
}

/** The cursor is the number of the last key that was looked at: a key that exists all the time is returned. */
function scan ({ args, keyspace }: Call): Reply {
  const cursor = Number(bigIntegerOf(args[0], 'ERR invalid cursor'))
  const options = new OptionReader(args, 1)
  let [most, pattern, type] = [10, '*', '']
  while (!options.isAtEnd) {
    const name = options.next()
    if (name === 'COUNT') most = integerOf(options.value())
    else if (name === 'MATCH') pattern = latin1(options.value())
    else if (name === 'TYPE') type = latin1(options.value()).toLowerCase()
    else throw new ErrorReply(syntaxError)
  }
  if (most < 1) throw new ErrorReply(syntaxError)
  const found: Buffer[] = []
  let looked = 0
  for (const [key, { number, value }] of keyspace.entries()) {
    if (number <= cursor) continue
    if (matchesPattern(pattern, key) && (type === '' || type === typeOf(value))) found.push(bytes(key))
    if (++looked === most) return [bulk(String(number)), found]
  }
  return [bulk('0'), found]
}

function rename ({ args, keyspace }: Call): Reply {
  const entry = keyspace.find(latin1(args[0]))
  if (entry === undefined) throw new ErrorReply('ERR no such key')
  keyspace.delete(latin1(args[0]))
  keyspace.put(latin1(args[1]), entry.value, entry.expiresAt)
  return ok
}

function memory ({ args, keyspace }: Call): Reply {
  if (word(args[0]) !== 'USAGE' || args[1] === undefined) throw new ErrorReply("ERR redis: 'memory' implements MEMORY USAGE alone")
  const entry = keyspace.find(latin1(args[1]))
  return entry === undefined ? null : bytesOf(latin1(args[1]), entry)
}

export const keys: Readonly<Record<string, Command>> = {
  del: command(1, many, remove),
  unlink: command(1, many, remove),
  exists: command(1, many, count),
  touch: command(1, many, count),
  type: command(1, 1, ({ args, keyspace }) => {
    const entry = keyspace.find(latin1(args[0]))
    return new Status(entry === undefined ? 'none' : typeOf(entry.value))
  }),
  keys: command(1, 1, ({ args, keyspace }) => [...keyspace.entries()].flatMap(([key]) => matchesPattern(latin1(args[0]), key) ? [bytes(key)] : [])),
  scan: command(1, many, scan),
  rename: command(2, 2, rename),
  memory: command(1, many, memory),
  dbsize: command(0, 0, ({ keyspace }) => keyspace.size),
  flushdb: command(0, 1, ({ keyspace }) => {
    keyspace.clear()
    return ok
  }),
  flushall: command(0, 1, ({ server }) => {
    for (const each of server.keyspaces) each.clear()
    return ok
  })
}
