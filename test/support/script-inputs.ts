import type { Random } from './random.ts'

/** Keys and arguments of one operation of a script. */
export interface ScriptInput { readonly keys: string[], readonly args: (string | number | Buffer)[] }

/** The time that scripts of a comparison read, milliseconds since 1970. */
export interface TestTime { nowMs: number }

/** Moves the time, but not into the last seconds of an hour: the counter of a fixed window would expire at once. */
export function passTime (time: TestTime, ms: number): void {
  time.nowMs += ms
  if (time.nowMs % 3_600_000 > 3_540_000) time.nowMs += 120_000
}

const lifetimes = [600_000, 900_000, 3_600_000, 86_400_000]
const lifetime = (random: Random) => random.pick(lifetimes)
const tokens = ['a1', 'b2', 'c3']
const bodies = ['', 'x', 'body of an entry that has more than forty-eight bytes, so that its prefix is shorter', 'é\u0000\r\n', '12', 'y'.repeat(300)]
const channel = 'filled'

/** A purge sequence near the time, or one that was lost, is far ahead, or is no number. */
function sequence (random: Random, { nowMs }: TestTime): string {
  return random.pick([String(nowMs * 1000 + random.integer(-5_000_000, 5_000_000)), String(random.integer(0, 9)), String(nowMs * 1000 + 10 ** 9), '0'])
}

const entry = (random: Random) => `entry${random.integer(1, 2)}`
const lock = (random: Random) => `lock${random.integer(1, 2)}`
const versions = (random: Random) => random.list(0, 3, () => `tag${random.integer(1, 3)}`)
const holder = (random: Random, time: TestTime) => `${sequence(random, time)} ${random.pick(tokens)}`
const prefix = (random: Random) => random.pick(bodies).slice(0, 48)

const session = (random: Random) => `session${random.integer(1, 2)}`
const devices = ['d1', 'd2', 'd3', 'd4']
const documents = ['{}', '{"cart":[1,2]}', '{"note":"é – ü"}', `{"long":"${'z'.repeat(80)}"}`]
const touchMs = (random: Random) => random.pick([60_000, 5000, 1])
const version = (random: Random) => random.pick(['1', '2', '3', '7', '11'])
/** Times of birth repeat: sessions are found by them. */
const birth = (random: Random, { nowMs }: TestTime) => String(nowMs - random.integer(0, 3))

const counter = (random: Random) => `counter${random.integer(1, 3)}`
/** Counters live for minutes at least: none expires while the servers are compared. */
const quotas = [
  's 5 600000 10000 1', 's 3 1000000 50000 2', 's 100 3600000 60000 1', 's 2 601000 100 3',
  'g 5 6000000 5 1', 'g 3 3000001 1 1', 'g 10 36000000 4 2', 'g 7 12345678 3 1',
  'f 5 3600000 0 1', 'f 3 3600000 0 2', 'f 100 86400000 0 7',
  'p 3 600000 0 1', 'p 1 600000 0 1', 'p 10 900000 0 2'
]

function consume (random: Random, { nowMs }: TestTime): ScriptInput {
  const chosen = random.list(1, 3, () => random.pick(quotas))
  const withSession = random.isChosen(0.3)
  const keys = [...chosen.map(() => counter(random)), ...withSession ? [session(random)] : []]
  const deadline = random.pick([0, 0, 0, nowMs + 100, nowMs - 1])
  const args = [random.pick([1, 1, 1, 2, 5, 0]), deadline, ...chosen, ...withSession ? [`l ${random.list(1, 2, () => random.pick(devices)).join(' ')}`] : [], ...chosen.some((quota) => quota.startsWith('p')) ? [`i lease${random.integer(1, 4)}`] : []]
  return { keys, args }
}

const log = (random: Random) => `log${random.integer(1, 2)}`
const rest = (random: Random) => `"type":"t","data":${random.pick(['1', '{"a":[]}', '"é"', `"${'d'.repeat(random.integer(0, 200))}"`])}}`

/** Inputs for each script of the package, by the name of its file. Few keys, so that operations meet each other's results. */
export const scriptInputs: Readonly<Record<string, (random: Random, time: TestTime) => ScriptInput>> = {
  'announce-app': (random) => ({ keys: ['apps'], args: [`app${random.integer(1, 14)}`, lifetime(random)] }),
  'raise-epoch': (random, time) => ({ keys: ['seq', 'epoch'], args: [lifetime(random), sequence(random, time), sequence(random, time)] }),
  'raise-version': (random, time) => ({ keys: [`tag${random.integer(1, 3)}`], args: [sequence(random, time), lifetime(random), random.pick(['0', '1'])] }),
  purge: (random, time) => ({ keys: ['seq', ...versions(random)], args: [lifetime(random), random.pick(['0', '1']), sequence(random, time)] }),
  'advance-sequence': (random, time) => ({ keys: ['seq'], args: [lifetime(random), sequence(random, time)] }),
  'remove-entry': (random) => ({ keys: [entry(random)], args: [0, random.pick([0, 3, 47]), prefix(random).slice(0, random.pick([1, 4, 48]))] }),
  'acquire-lock': (random, time) => ({
    keys: [lock(random), entry(random), 'seq', ...versions(random)],
    args: [random.pick(tokens), lifetime(random), random.pick(['', sequence(random, time), '1e300']), prefix(random), lifetime(random), random.pick(['', String(lifetime(random))]), random.pick(['0', sequence(random, time)]), sequence(random, time)]
  }),
  'extend-lock': (random, time) => ({ keys: [lock(random)], args: [holder(random, time), lifetime(random), lifetime(random)] }),
  'release-lock': (random, time) => ({ keys: [lock(random)], args: [holder(random, time), random.pick(['0', String(lifetime(random))]), channel, `free ${entry(random)}`] }),
  'try-lock': (random, time) => ({ keys: [lock(random), entry(random), 'seq', ...versions(random)], args: [random.pick(tokens), lifetime(random), lifetime(random), random.pick(['0', sequence(random, time)])] }),
  store: (random, time) => ({
    keys: [entry(random), lock(random), ...random.isChosen(0.8) ? ['seq', ...versions(random)] : []],
    args: [sequence(random, time), random.pick(bodies), lifetime(random), lifetime(random), random.pick(['', holder(random, time)]), prefix(random), channel, random.pick(['', '1'])]
  }),
  'read-sequence': (random, time) => ({ keys: ['seq', ...versions(random)], args: [lifetime(random), sequence(random, time)] }),
  presence: (random) => ({ keys: ['processes'], args: [`{"id":"p${random.integer(1, 6)}"}`, lifetime(random)] }),
  lease: (random) => ({ keys: ['lease'], args: [random.pick(tokens), lifetime(random)] }),
  heartbeat: (random) => ({ keys: ['websocket'], args: [lifetime(random), ...random.list(1, 4, (index) => [`field${index}`, random.pick(bodies)]).flat()] }),
  renew: (random) => ({ keys: random.list(1, 3, () => random.pick(['websocket', 'websocket2'])), args: [lifetime(random)] }),
  'extend-slots': (random, { nowMs }) => ({ keys: [counter(random)], args: [lifetime(random), random.pick([0, nowMs + 5, nowMs - 5]), ...random.list(1, 3, () => `lease${random.integer(1, 4)}.1`)] }),
  consume,
  publish: (random) => ({ keys: [log(random)], args: ['topic', rest(random), random.pick([1, 10, 50, 250]), lifetime(random), random.integer(2 ** 40, 2 ** 47)] }),
  compare: (random, { nowMs }) => {
    const keys = random.list(1, 3, () => log(random))
    return { keys, args: [lifetime(random), ...keys.map(() => random.pick([`${nowMs}-0`, '0-1']))] }
  },
  'consume-sliding': (random, { nowMs }) => {
    const keys = random.list(1, 4, (index) => `counter${index + 1}`)
    return { keys, args: [...random.pick([[5, 600_000, 10_000, 1], [3, 1_000_000, 50_000, 2], [2, 601_000, 100, 3]]), random.pick([0, 0, nowMs + 100, nowMs - 1]), random.pick(['', keys.map(() => random.integer(0, 4)).join(' ')])] }
  },
  read: (random, { nowMs }) => ({ keys: [log(random)], args: [random.pick(['', '0-1', `${nowMs}-0`, `${nowMs - 1000}-5`]), random.pick([1, 8, 64]), random.pick([100, 32_768]), lifetime(random), random.integer(2 ** 40, 2 ** 47)] }),
  create: (random, time) => ({ keys: [session(random)], args: [random.pick(devices), random.pick([900_000, 3_600_000]), 86_400_000, random.pick(['=', '=Firefox%20on%20Linux']), random.pick(documents), random.pick([1, 2, 3, 10]), random.pick(['0', birth(random, time)]), touchMs(random), random.pick(['', version(random)])] }),
  list: (random) => ({ keys: [session(random)], args: [] }),
  load: (random) => ({ keys: [session(random)], args: [touchMs(random), random.pick(devices), ...random.isChosen(0.3) ? [random.pick(devices)] : []] }),
  'mark-moving': (random, time) => ({ keys: [session(random)], args: [birth(random, time), version(random), random.pick([1, 2000])] }),
  revoke: (random, time) => ({ keys: [session(random)], args: [random.pick(['these', 'others']), random.pick(['', random.pick(devices)]), random.pick(['', '', version(random)]), ...random.list(0, 3, () => random.pick([random.pick(devices), birth(random, time)]))] }),
  rotate: (random) => ({ keys: [session(random)], args: [random.pick(devices), random.pick(devices)] }),
  save: (random) => ({ keys: [session(random)], args: [random.pick(devices), version(random), random.pick(documents), touchMs(random), random.integer(1, 9)] })
}

/** Scripts that share their keys run together, so that each meets what the others have written. */
export const scriptGroups: readonly (readonly string[])[] = [
  ['raise-epoch', 'raise-version', 'purge', 'advance-sequence', 'remove-entry', 'acquire-lock', 'extend-lock', 'release-lock', 'try-lock', 'store', 'read-sequence'],
  ['create', 'list', 'load', 'mark-moving', 'revoke', 'rotate', 'save'],
  ['consume', 'consume-sliding', 'extend-slots', 'create'],
  ['publish', 'read', 'compare'],
  ['announce-app', 'presence', 'lease', 'heartbeat', 'renew']
]
