import type { Redis } from 'ioredis'
import t from 'tap'
import { commands } from '../../src/redis/memory/commands/table.ts'
import { randomCommands } from '../support/command-inputs.ts'
import { comparable, startPair } from '../support/memory-compare.ts'
import type { Pair } from '../support/memory-compare.ts'
import { propertyRuns } from '../support/property-runs.ts'
import { Random } from '../support/random.ts'

const calls = propertyRuns(Number(process.env.MEMORY_CALLS ?? 4000))
const seed = Number(process.env.MEMORY_SEED ?? Math.floor(Math.random() * 2 ** 31))
const perRound = 100

/** Commands whose replies depend on the server, the connection or the time; other tests call them. */
const notCompared = ['auth', 'client', 'cluster', 'config', 'discard', 'exec', 'flushall', 'flushdb', 'hello', 'info', 'keys', 'memory', 'multi', 'pexpiretime', 'psubscribe', 'pttl', 'pubsub', 'punsubscribe', 'quit', 'readonly', 'reset', 'scan', 'select', 'slowlog', 'smembers', 'subscribe', 'time', 'unsubscribe', 'unwatch', 'wait', 'watch']

t.test('the comparison covers each command', async (t) => {
  const random = new Random(1)
  const covered = new Set(Array.from({ length: 50 }, () => randomCommands.map((make) => make(random)[0])).flat())

  t.same([...commands.keys()].filter((name) => !covered.has(name)).sort(), notCompared)
})

/** Remaining times differ by the time between two calls. */
function stable (name: string, reply: unknown): unknown {
  if ((name === 'ttl' || name === 'expiretime') && typeof reply === 'number') return Math.round(reply / 100)
  return reply
}

async function run (client: Redis, steps: readonly ReturnType<typeof randomCommands[number]>[]): Promise<unknown[]> {
  return await Promise.all(steps.map(async ([name, ...args]) => stable(name, comparable(await client.callBuffer(name, ...args).catch((error: Error) => error)))))
}

async function compareRound (pair: Pair, random: Random): Promise<string[]> {
  const steps = Array.from({ length: perRound }, () => random.pick(randomCommands)(random))
  const [memory, real] = (await pair.both((client) => run(client, steps))).map((replies) => replies.map((reply) => JSON.stringify(reply)))
  const found = steps.flatMap((step, index) => memory?.[index] === real?.[index] ? [] : [`${JSON.stringify(step)}: memory replies ${memory?.[index]}, Redis replies ${real?.[index]}`])
  return found.length > 0 ? found : await pair.differingKeys()
}

for (const protocol of [3, 2] as const) {
  t.test(`commands reply alike in memory and in Redis, in RESP${protocol} (seed ${seed}, ${calls} calls)`, async (t) => {
    const pair = await startPair(t, { protocol })
    const random = new Random(seed)
    for (let done = 0; done < calls; done += perRound) {
      await pair.both((client) => client.xadd('future', '4000000000000-0', 'f', 'v').catch(() => {}))
      const found = await compareRound(pair, random)
      if (found.length > 0) return t.same(found, [], `calls from ${done} on`)
      if (random.isChosen(0.1)) await pair.clear()
    }
    t.pass()
  })
}
