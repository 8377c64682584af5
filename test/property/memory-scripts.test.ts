import { globSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Redis } from 'ioredis'
import t from 'tap'
import { EncodedCommand, encodeCommands } from '../../src/redis/batch/resp-encoder.ts'
import type { FillCommand } from '../../src/redis/batch/resp-encoder.ts'
import { addScriptCall } from '../../src/redis/batch/script-call.ts'
import { loadLua, Script } from '../../src/redis/batch/script.ts'
import { comparable, startPair } from '../support/memory-compare.ts'
import type { Pair } from '../support/memory-compare.ts'
import { propertyRuns } from '../support/property-runs.ts'
import { Random } from '../support/random.ts'
import { passTime, scriptGroups, scriptInputs } from '../support/script-inputs.ts'
import type { ScriptInput, TestTime } from '../support/script-inputs.ts'
import { until } from '../support/until.ts'

const root = join(import.meta.dirname, '../..')
const files = globSync('src/**/*.lua', { cwd: root, exclude: ['src/redis/memory/**'] })
const callsPerScript = propertyRuns(Number(process.env.MEMORY_CALLS ?? 100))
const seed = Number(process.env.MEMORY_SEED ?? Math.floor(Math.random() * 2 ** 31))
/** An hour ahead of the servers' clocks, so that no key expires, and generated stream IDs follow the last one. */
const aheadMs = 3_600_000

/** Scripts that handle all clients of a call themselves. */
const ungrouped = new Set(['consume-sliding'])

/** The script as it is, except that it reads the time of the test instead of the server's. */
function luaOf (file: string): string {
  const definition = { url: pathToFileURL(join(root, file)), costMicroseconds: 1 }
  const { lua } = ungrouped.has(basename(file, '.lua')) ? loadLua(definition) : new Script({ ...definition, read: (reply) => reply })
  return lua.replace(/\b(?:redis\.)?call\('TIME'\)/, "redis.call('MGET', 'test:seconds', 'test:microseconds')")
}

const scripts = new Map(files.map((file) => [basename(file, '.lua'), luaOf(file)]))

t.test('the comparison covers each script of the package', async (t) => {
  t.same([...scripts.keys()].sort(), Object.keys(scriptInputs).sort())
  t.same([...new Set(scriptGroups.flat())].sort(), Object.keys(scriptInputs).sort())
})

/** Values that the scripts do not expect: they must treat them alike. */
const strays: readonly ((random: Random, key: string) => [string, ...(string | number)[]])[] = [
  (_random, key) => ['del', key],
  (random, key) => ['set', key, random.pick(['', 'pass', 'nonsense', '17', '18 19', '20 a1!', 's12345', '\u0000\u00ff'])],
  (random, key) => ['hset', key, random.pick(['d1', 'd2', 'x']), random.pick(['', 'nonsense', '1 2 3'])],
  (random, key) => ['zadd', key, random.pick([1, 1.5, -3]), 'm'],
  (_random, key) => ['persist', key]
]

/** One command, sent to both servers. */
interface Step {
  readonly text: string
  /** of the package's scripts; undefined for another command */
  readonly script?: string
  readonly send: (client: Redis) => Promise<unknown>
}

/** Different replies by script: the inputs must reach more than one outcome. */
const outcomes = new Map<string, Set<string>>()

function scriptStep (script: string, random: Random, time: TestTime): Step {
  const lua = scripts.get(script) ?? ''
  const inputs = random.list(1, ungrouped.has(script) ? 1 : 4, () => scriptInputs[script]?.(random, time) as ScriptInput)
  const [{ keys, args }] = inputs as [ScriptInput]
  const fill: FillCommand = (writer) => {
    if (!ungrouped.has(script)) return addScriptCall(writer, 'eval', lua, inputs)
    for (const part of ['eval', lua, keys.length, ...keys, ...args]) writer.add(part)
  }
  return { script, text: `${script} of ${JSON.stringify(inputs)}`, send: (client) => client.sendCommand(new EncodedCommand('eval', '', encodeCommands([fill]))) as Promise<unknown> }
}

function commandStep (name: string, ...args: (string | number)[]): Step {
  return { text: [name, ...args].join(' '), send: (client) => client.call(name, ...args) }
}

function timeStep ({ nowMs }: TestTime): Step {
  return commandStep('mset', 'test:seconds', Math.floor(nowMs / 1000), 'test:microseconds', (nowMs % 1000) * 1000 + 7)
}

function strayStep (random: Random, script: string, time: TestTime): Step {
  const { keys } = scriptInputs[script]?.(random, time) as ScriptInput
  const [name, ...args] = random.pick(strays)(random, random.pick(keys))
  return commandStep(name, ...args)
}

/** The remaining lifetimes of the locks in a reply of acquire-lock: they differ by the time between the two calls. */
function ttlsOf (reply: unknown, script: string | undefined): number[] {
  return script === 'acquire-lock' && Array.isArray(reply) ? reply.filter(Array.isArray).map((each) => Number(each[2])) : []
}

function withoutTtl (reply: unknown, script: string | undefined): unknown {
  return ttlsOf(reply, script).length === 0 ? reply : (reply as unknown[]).map((each) => Array.isArray(each) ? each.with(2, 0) : each)
}

/** Sends the steps, and compares the replies and then the keys. @returns the differences */
async function compare (pair: Pair, steps: readonly Step[]): Promise<string[]> {
  const replies = (await pair.both((client) => Promise.all(steps.map(({ send }) => send(client).catch((error: Error) => error))))).map((all) => all.map(comparable))
  const [memory, real] = replies.map((all) => all.map((reply, index) => JSON.stringify(withoutTtl(reply, steps[index]?.script))))
  const found: string[] = []
  for (const [index, { text, script }] of steps.entries()) {
    const [ttls = [], others = []] = replies.map((all) => ttlsOf(all[index], script))
    // A remaining lifetime is the difference of two instants.
    if (ttls.some((ms, place) => Math.abs(ms - Number(others[place])) > 2 * pair.apartMs)) found.push(`${text}: memory has ${ttls.join(', ')} ms left, Redis ${others.join(', ')}`)
    if (script !== undefined) outcomes.set(script, (outcomes.get(script) ?? new Set()).add(real?.[index]?.replace(/\d{10,}/g, 'n') ?? ''))
    if (memory?.[index] !== real?.[index]) found.push(`${text}: memory replies ${memory?.[index]}, Redis replies ${real?.[index]}`)
  }
  return [...found, ...await pair.differingKeys()]
}

const stepsPerRound = 50

/** @returns the first differences */
async function compareGroup (pair: Pair, names: readonly string[], random: Random): Promise<string[]> {
  const time = { nowMs: Date.now() }
  passTime(time, aheadMs)
  await pair.clear()
  let steps = [timeStep(time)]
  for (let done = 0; done < callsPerScript * names.length; done++) {
    if (random.isChosen(0.3)) {
      passTime(time, random.pick([1, 1, 7, 200, 5000, 61_000, 700_000, 3_600_000]))
      steps.push(timeStep(time))
    }
    const script = names[done % names.length] as string
    steps.push(scriptStep(script, random, time))
    if (random.isChosen(0.05)) steps.push(strayStep(random, script, time))
    if (random.isChosen(0.002)) steps.push(commandStep('del', 'seq', 'log1', 'log2'))
    if (steps.length < stepsPerRound && done < callsPerScript * names.length - 1) continue
    const found = await compare(pair, steps)
    if (found.length > 0) return found.map((text) => `near call ${done}: ${text}`)
    steps = []
  }
  return []
}

t.test(`scripts reply alike in memory and in Redis (seed ${seed}, ${callsPerScript} calls each)`, async (t) => {
  const pair = await startPair(t)
  const messages: [string[], string[]] = [[], []]
  for (const [index, client] of [pair.memory, pair.real].entries()) {
    const subscriber = client.duplicate()
    t.after(() => subscriber.disconnect())
    subscriber.on('message', (channel: string, text: string) => messages[index as 0 | 1].push(`${channel} ${text}`))
    await subscriber.subscribe('filled', 'topic')
  }

  for (const [index, names] of scriptGroups.entries()) {
    t.same(await compareGroup(pair, names, new Random(seed + index)), [], names.join(', '))
    t.comment(`expiries agree within ${pair.apartMs} ms`)
  }
  await until(() => messages[0].length === messages[1].length, { what: 'all messages' })
  t.ok(messages[0].length > 0)
  t.same(messages[0], messages[1])
  t.same([...outcomes].filter(([, replies]) => replies.size < 4).map(([name]) => name), [])
})
