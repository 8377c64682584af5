import { RedisReplyError } from '../shared/errors.ts'
import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { RespWriter } from '../redis/batch/resp-encoder.ts'
import type { ScriptArgs } from '../redis/batch/script-call.ts'
import { loadLua } from '../redis/batch/script.ts'
import type { BatchScript } from '../redis/batch/script.ts'
import { notCounted, tooLate } from './script-reply.ts'
import type { ScriptReply } from './script-reply.ts'
import type { QuotaCost } from './quota.ts'

/** One key; its arguments are the number of requests and the deadline. */
type Operation = PendingReply<ScriptReply> & ScriptArgs

const loaded = loadLua({ url: new URL('./consume-sliding.lua', import.meta.url), costMicroseconds: 7 })
/** Bytes of the time, and of the reply for one client. */
const timeBytes = 6
const replyBytes = 20
const notCountedCode = 0xffffffff
/** The counter has 32 bits. */
const maxQuota = 0xfffffffe

/** Consumes units of one sliding quota from many counters in one call. The reply is one value for all of them, which costs less to write and to read. */
export class SlidingScript implements BatchScript<ScriptReply> {
  readonly name = loaded.name
  readonly lua = loaded.lua
  readonly sha1 = loaded.sha1
  readonly operationsPerCall = loaded.operationsPerCall
  readonly #args: readonly string[]

  constructor ({ quota: { quota, windowMs, bucketOrBurst }, cost }: QuotaCost) {
    this.#args = [quota, windowMs, bucketOrBurst, cost].map(String)
  }

  /** The script for a check of these quotas; undefined if only `consume.lua` counts them. */
  static for (costs: readonly QuotaCost[]): SlidingScript | undefined {
    const [cost] = costs
    return cost !== undefined && costs.length === 1 && cost.quota.algorithm === 'sliding' && cost.quota.quota <= maxQuota ? new SlidingScript(cost) : undefined
  }

  addCall (writer: RespWriter, command: 'eval' | 'evalsha', text: string, operations: readonly Operation[]): void {
    writer.add(command)
    writer.add(text)
    writer.addNumber(operations.length)
    for (const { keys } of operations) writer.add(keys[0] ?? '')
    for (const arg of this.#args) writer.add(arg)
    writer.add(operations[0]?.args[1] ?? 0)
    writer.add(operations.every(({ args }) => args[0] === 1) ? '' : operations.map(({ args }) => args[0]).join(' '))
  }

  settle (reply: unknown, operations: readonly Operation[]): undefined {
    if (!Buffer.isBuffer(reply) || (reply.length !== timeBytes && reply.length !== timeBytes + replyBytes * operations.length)) throw new RedisReplyError('unexpected reply shape')
    const nowMs = reply.readUIntBE(0, timeBytes)
    for (let index = 0; index < operations.length; index++) {
      const at = timeBytes + replyBytes * index
      operations[index]?.resolve(reply.length === timeBytes ? { granted: tooLate, nowMs, statuses: [] } : readReply(reply, at, nowMs))
    }
  }
}

function readReply (reply: Buffer, at: number, nowMs: number): ScriptReply {
  const granted = reply.readUInt32BE(at)
  if (granted === notCountedCode) return { granted: notCounted, nowMs, statuses: [] }
  return { granted, nowMs, statuses: [{ remaining: reply.readUInt32BE(at + 4), resetMs: reply.readUIntBE(at + 8, 6), retryMs: reply.readUIntBE(at + 14, 6) }] }
}
