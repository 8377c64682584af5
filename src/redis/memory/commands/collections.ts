import { integerOf, latin1 } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { ErrorReply, ok } from '../reply.ts'
import type { Reply } from '../reply.ts'

const bytes = (text: string) => Buffer.from(text, 'latin1')

function addToSet ({ args, keyspace }: Call): Reply {
  const key = latin1(args[0])
  const set = keyspace.set(key) ?? new Set<string>()
  const before = set.size
  for (const member of args.slice(1)) set.add(latin1(member))
  if (set.size > before) keyspace.put(key, set)
  return set.size - before
}

function removeFromSet ({ args, keyspace }: Call): Reply {
  const set = keyspace.set(latin1(args[0])) ?? new Set<string>()
  const removed = args.slice(1).filter((member) => set.delete(latin1(member))).length
  if (removed > 0) keyspace.shrunk(latin1(args[0]), set.size === 0)
  return removed
}

function push (isLeft: boolean): Command {
  return command(2, many, ({ args, keyspace }) => {
    const key = latin1(args[0])
    const list = keyspace.list(key) ?? []
    for (const item of args.slice(1)) isLeft ? list.unshift(Buffer.from(item)) : list.push(Buffer.from(item))
    keyspace.put(key, list)
    return list.length
  })
}

function pop (isLeft: boolean): Command {
  return command(1, 2, ({ args, keyspace }) => {
    const key = latin1(args[0])
    const count = args[1] === undefined ? 1 : integerOf(args[1], 'ERR value is out of range, must be positive')
    if (count < 0) throw new ErrorReply('ERR value is out of range, must be positive')
    const list = keyspace.list(key)
    if (list === undefined) return null
    const popped = isLeft ? list.splice(0, count) : list.splice(Math.max(0, list.length - count)).reverse()
    if (popped.length > 0) keyspace.shrunk(key, list.length === 0)
    return args[1] === undefined ? popped[0] ?? null : popped
  })
}

function slice (list: readonly Buffer[], from: number, to: number): Buffer[] {
  const at = (index: number) => index < 0 ? list.length + index : index
  return list.slice(Math.max(0, at(from)), at(to) < 0 ? 0 : at(to) + 1)
}

function trim ({ args, keyspace }: Call): Reply {
  const [from, to] = [integerOf(args[1]), integerOf(args[2])]
  const list = keyspace.list(latin1(args[0]))
  if (list === undefined) return ok
  const rest = slice(list, from, to)
  list.splice(0, list.length, ...rest)
  keyspace.shrunk(latin1(args[0]), rest.length === 0)
  return ok
}

/** Sets and lists, which the package does not use itself: apps call them through `fastify.redis`. */
export const collections: Readonly<Record<string, Command>> = {
  sadd: command(2, many, addToSet),
  srem: command(2, many, removeFromSet),
  smembers: command(1, 1, ({ args, keyspace }) => [...keyspace.set(latin1(args[0])) ?? []].map(bytes)),
  sismember: command(2, 2, ({ args, keyspace }) => Number(keyspace.set(latin1(args[0]))?.has(latin1(args[1])) ?? false)),
  scard: command(1, 1, ({ args, keyspace }) => keyspace.set(latin1(args[0]))?.size ?? 0),
  lpush: push(true),
  rpush: push(false),
  lpop: pop(true),
  rpop: pop(false),
  llen: command(1, 1, ({ args, keyspace }) => keyspace.list(latin1(args[0]))?.length ?? 0),
  lrange: command(3, 3, ({ args, keyspace }) => {
    const [from, to] = [integerOf(args[1]), integerOf(args[2])]
    return slice(keyspace.list(latin1(args[0])) ?? [], from, to)
  }),
  ltrim: command(3, 3, trim)
}
