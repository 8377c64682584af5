import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

/**
 * What a script says of itself.
 *
 * The Lua answers one ask: it sees its own `KEYS` and `ARGV`, and `nowMs` (Redis's clock, milliseconds since 1970).
 * It reads before it writes: an error in the middle leaves what was already written.
 * `KEYS` and `ARGV` are the same tables for every ask of a call, filled anew: it neither keeps nor returns them.
 * What stands above a line `-- each ask` is run once a call, before its asks: functions, and what they share.
 * `time` is what TIME said, for who needs microseconds.
 */
export interface ScriptDefinition<Answer> {
  /** where the Lua stands: `new URL('./take.lua', import.meta.url)` */
  url: URL
  /** what one ask costs Redis, measured; it decides how many asks ride in one call */
  costMicroseconds: number
  /** turns Redis's reply into an answer: strings are text, whole numbers are numbers, false and nil are null, inside arrays write false */
  read: (reply: unknown) => Answer
}

/** A script may hold the server for this long in one call: everybody else waits meanwhile. */
const callBudgetMicroseconds = 250

/**
 * A Lua script that answers many asks in one call, each with its own keys, arguments and answer, or its own error.
 *
 * The call's arguments are those of `writeCall`; its keys stand in order.
 */
export class Script<Answer> {
  readonly lua: string
  readonly sha1: string
  readonly operationsPerCall: number
  readonly read: (reply: unknown) => Answer

  constructor (definition: ScriptDefinition<Answer>) {
    this.lua = grouped(readFileSync(definition.url, 'utf8'))
    this.sha1 = createHash('sha1').update(this.lua).digest('hex')
    this.operationsPerCall = Math.max(1, Math.floor(callBudgetMicroseconds / definition.costMicroseconds))
    this.read = definition.read
  }
}

/** Tables and numbers are made once a call, for their making costs more than most asks. A failed ask answers with an error of its own inside the reply's array, and the others go on. */
function grouped (lua: string): string {
  const [ask = '', once = ''] = lua.split(/^-- each ask$/m).reverse()
  return `local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
${once}
local function ask(KEYS, ARGV)
${ask}
end
local answers, keys, args, key, arg, i = {}, {}, {}, 0, 1, 0
for alike, keyCount, argCount, own in string.gmatch(ARGV[1], '(%d+) (%d+) (%d+) ([%d,]*);') do
  keyCount, argCount = tonumber(keyCount), tonumber(argCount)
  for j = keyCount + 1, #keys do keys[j] = nil end
  for j = argCount + 1, #args do args[j] = nil end
  local places, placeCount = {}, 0
  for place in string.gmatch(own, '%d+') do placeCount, places[placeCount + 1] = placeCount + 1, tonumber(place) end
  local nextOwn = 1
  for j = 1, argCount do
    if places[nextOwn] == j then
      nextOwn, args[j] = nextOwn + 1, ''
    else
      arg, args[j] = arg + 1, ARGV[arg + 1]
    end
  end
  for _ = 1, tonumber(alike) do
    for j = 1, keyCount do keys[j] = KEYS[key + j] end
    for j = 1, placeCount do args[places[j]] = ARGV[arg + j] end
    key, arg, i = key + keyCount, arg + placeCount, i + 1
    local isFine, answer = pcall(ask, keys, args)
    if isFine then
      answers[i] = answer or false
    else
      answers[i] = { err = type(answer) == 'table' and answer.err or tostring(answer) }
    end
  end
end
return answers
`
}
