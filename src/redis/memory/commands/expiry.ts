import { bigIntegerOf, latin1, word } from '../arguments.ts'
import { command } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { ErrorReply } from '../reply.ts'
import type { Reply } from '../reply.ts'

const maxMs = 2n ** 63n - 1n

/** When a key expires, from an option of SET: EX, PX, EXAT or PXAT. @throws {ErrorReply} */
export function expiryOf (unit: string, arg: Buffer, nowMs: number, name: string): number {
  const value = bigIntegerOf(arg)
  if (value <= 0n) throw new ErrorReply(`ERR invalid expire time in '${name}' command`)
  return instantOf(value, unit, nowMs, name)
}

function instantOf (value: bigint, unit: string, nowMs: number, name: string): number {
  const ms = value * (unit.startsWith('P') ? 1n : 1000n)
  const at = unit.endsWith('AT') ? ms : ms + BigInt(nowMs)
  if (ms > maxMs || ms < -maxMs || at > maxMs) throw new ErrorReply(`ERR invalid expire time in '${name}' command`)
  return Number(at)
}

function readConditions (args: readonly Buffer[]): Set<string> {
  const conditions = new Set(args.map(word))
  for (const each of conditions) if (!['NX', 'XX', 'GT', 'LT'].includes(each)) throw new ErrorReply(`ERR Unsupported option ${latin1(args.find((arg) => word(arg) === each))}`)
  if (conditions.has('NX') && conditions.size > 1) throw new ErrorReply('ERR NX and XX, GT or LT options at the same time are not compatible')
  if (conditions.has('GT') && conditions.has('LT')) throw new ErrorReply('ERR GT and LT options at the same time are not compatible')
  return conditions
}

function isMet (conditions: ReadonlySet<string>, before: number, after: number): boolean {
  if (conditions.has('NX') && before !== Infinity) return false
  if (conditions.has('XX') && before === Infinity) return false
  return !(conditions.has('GT') && after <= before) && !(conditions.has('LT') && after >= before)
}

function expire (unit: string, name: string): Command {
  return command(2, Infinity, ({ args, keyspace, server }: Call): Reply => {
    const conditions = readConditions(args.slice(2))
    const key = latin1(args[0])
    const at = instantOf(bigIntegerOf(args[1]), unit, server.nowMs, name)
    const entry = keyspace.find(key)
    if (entry === undefined || !isMet(conditions, entry.expiresAt, at)) return 0
    if (at <= server.nowMs) keyspace.delete(key)
    else keyspace.put(key, entry.value, at)
    return 1
  })
}

function remaining (msPerUnit: number): Command {
  return command(1, 1, ({ args, keyspace, server }: Call): Reply => {
    const entry = keyspace.find(latin1(args[0]))
    if (entry === undefined) return -2
    return entry.expiresAt === Infinity ? -1 : Math.floor((entry.expiresAt - server.nowMs + msPerUnit / 2) / msPerUnit)
  })
}

function instant (msPerUnit: number): Command {
  return command(1, 1, ({ args, keyspace }: Call): Reply => {
    const entry = keyspace.find(latin1(args[0]))
    if (entry === undefined) return -2
    return entry.expiresAt === Infinity ? -1 : Math.floor((entry.expiresAt + msPerUnit / 2) / msPerUnit)
  })
}

function persist ({ args, keyspace }: Call): Reply {
  const entry = keyspace.find(latin1(args[0]))
  if (entry === undefined || entry.expiresAt === Infinity) return 0
  keyspace.put(latin1(args[0]), entry.value, Infinity)
  return 1
}

export const expiry: Readonly<Record<string, Command>> = {
  expire: expire('EX', 'expire'),
  pexpire: expire('PX', 'pexpire'),
  expireat: expire('EXAT', 'expireat'),
  pexpireat: expire('PXAT', 'pexpireat'),
  ttl: remaining(1000),
  pttl: remaining(1),
  expiretime: instant(1000),
  pexpiretime: instant(1),
  persist: command(1, 1, persist)
}
