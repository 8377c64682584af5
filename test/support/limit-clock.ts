import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { quotaCostOf } from '../../src/rate-limit/quota.ts'
import type { Quota } from '../../src/rate-limit/quota.ts'
import { startRedisProcess } from './redis-process.ts'

/** One call, at a time of the test. */
export interface Step {
  /** microseconds since 1970 */
  atUs: number
  requestCount: number
  /** by the last part of the key */
  claims: readonly { key: string, quota: Quota, cost: number }[]
  /** names of the granted slots */
  lease?: string
  /** slots released before: the lease, and its slots */
  returned?: readonly { key: string, place: string }[]
}

export interface Told {
  granted: number
  statuses: { remaining: number, resetMs: number, retryMs: number }[]
}

/** `consume.lua` in a real Redis, with a clock that the test sets; or `consume-sliding.lua`, for steps with one sliding quota. */
export async function startClock (t: Test, { isSliding = false } = {}): Promise<(steps: readonly Step[]) => Promise<Told[]>> {
  const server = await startRedisProcess(t)
  const redis = new Redis(server.url)
  t.after(() => redis.disconnect())
  const source = readFileSync(new URL(`../../src/rate-limit/${isSliding ? 'consume-sliding' : 'consume'}.lua`, import.meta.url), 'utf8')
  const take = source.replace("local time = call('TIME')\n", '').replace(/^local nowMs = .*$/m, '')
  const lua = `
    local function run (time, nowMs, KEYS, ARGV)
      ${take}
    end
    local told = {}
    for i, step in ipairs(cjson.decode(ARGV[1])) do
      for _, each in ipairs(step.returned) do redis.call('ZREM', each.key, each.place) end
      local time = { math.floor(step.atUs / 1000000), step.atUs % 1000000 }
      told[i] = run(time, math.floor(step.atUs / 1000), step.keys, step.args)
    end
    return told`
  let runs = 0
  return async (steps) => {
    const run = `run-${++runs}`
    const operations = steps.map(({ atUs, requestCount, claims, lease, returned = [] }) => ({
      atUs,
      returned: returned.map(({ key, place }) => ({ key: `${run}:${key}`, place })),
      keys: claims.map(({ key }) => `${run}:${key}`),
      args: [String(requestCount), '0', ...claims.map(({ quota, cost }) => quotaCostOf(quota, cost).text), ...lease === undefined ? [] : [`i ${lease}`]]
    }))
    if (isSliding) {
      const slidingOperations = operations.map((operation, at) => ({ ...operation, args: slidingArgsOf(steps[at] as Step) }))
      return (await redis.callBuffer('eval', lua, 0, JSON.stringify(slidingOperations)) as Buffer[]).map(readSliding)
    }
    const told = await redis.eval(lua, 0, JSON.stringify(operations)) as string[]
    return told.map((text) => text.split(' ').map(Number)).map(([granted = 0, , ...numbers]) => ({
      granted,
      statuses: Array.from({ length: numbers.length / 3 }, (_, at) => ({ remaining: numbers[at * 3] ?? 0, resetMs: numbers[at * 3 + 1] ?? 0, retryMs: numbers[at * 3 + 2] ?? 0 }))
    }))
  }
}

function slidingArgsOf ({ requestCount, claims: [claim] }: Step): string[] {
  const { quota, windowMs, bucketOrBurst } = claim?.quota as Quota
  return [quota, windowMs, bucketOrBurst, claim?.cost ?? 1, 0, requestCount].map(String)
}

function readSliding (reply: Buffer): Told {
  return { granted: reply.readUInt32BE(6), statuses: [{ remaining: reply.readUInt32BE(10), resetMs: reply.readUIntBE(14, 6), retryMs: reply.readUIntBE(20, 6) }] }
}
