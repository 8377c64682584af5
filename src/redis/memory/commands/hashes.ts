import { bigIntegerOf, latin1 } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import type { Hash, Keyspace } from '../keyspace.ts'
import { ErrorReply, MapReply, ok } from '../reply.ts'
import type { Reply } from '../reply.ts'

const empty: Hash = new Map()

function read ({ args, keyspace }: Call): Hash {
  return keyspace.hash(latin1(args[0])) ?? empty
}

function forWriting (keyspace: Keyspace, key: string): Hash {
  return keyspace.hash(key) ?? new Map<string, Buffer>()
}

/** @returns the number of new fields */
function setFields ({ args, keyspace }: Call, name: string): number {
  if (args.length % 2 === 0) throw new ErrorReply(`ERR wrong number of arguments for '${name}' command`)
  const key = latin1(args[0])
  const hash = forWriting(keyspace, key)
  const before = hash.size
  for (let index = 1; index < args.length; index += 2) hash.set(latin1(args[index]), Buffer.from(args[index + 1] as Buffer))
  keyspace.put(key, hash)
  return hash.size - before
}

function deleteFields (call: Call): Reply {
  const { args, keyspace } = call
  const hash = read(call)
  const deleted = args.slice(1).filter((field) => hash.delete(latin1(field))).length
  if (deleted > 0) keyspace.shrunk(latin1(args[0]), hash.size === 0)
  return deleted
}

function increase ({ args, keyspace }: Call): Reply {
  const [key, field, change] = [latin1(args[0]), latin1(args[1]), bigIntegerOf(args[2])]
  const hash = forWriting(keyspace, key)
  const before = hash.get(field)
  const value = (before === undefined ? 0n : bigIntegerOf(before, 'ERR hash value is not an integer')) + change
  if (BigInt.asIntN(64, value) !== value) throw new ErrorReply('ERR increment or decrement would overflow')
  hash.set(field, Buffer.from(String(value)))
  keyspace.put(key, hash)
  return value
}

const fieldsOf = (hash: Hash) => [...hash.keys()].map((field) => Buffer.from(field, 'latin1'))

export const hashes: Readonly<Record<string, Command>> = {
  hset: command(3, many, (call) => setFields(call, 'hset')),
  hmset: command(3, many, (call) => {
    setFields(call, 'hmset')
    return ok
  }),
  hsetnx: command(3, 3, (call) => read(call).has(latin1(call.args[1])) ? 0 : setFields(call, 'hsetnx')),
  hget: command(2, 2, (call) => read(call).get(latin1(call.args[1])) ?? null),
  hmget: command(2, many, (call) => call.args.slice(1).map((field) => read(call).get(latin1(field)) ?? null)),
  hdel: command(2, many, deleteFields),
  hexists: command(2, 2, (call) => Number(read(call).has(latin1(call.args[1])))),
  hlen: command(1, 1, (call) => read(call).size),
  hstrlen: command(2, 2, (call) => read(call).get(latin1(call.args[1]))?.length ?? 0),
  hkeys: command(1, 1, (call) => fieldsOf(read(call))),
  hvals: command(1, 1, (call) => [...read(call).values()]),
  hgetall: command(1, 1, (call) => new MapReply([...read(call)].flatMap(([field, value]) => [Buffer.from(field, 'latin1'), value]))),
  hincrby: command(3, 3, increase)
}
