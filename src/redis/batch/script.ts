import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'

/**
 * Definition of a {@link Script}.
 *
 * The Lua code runs one operation, with its own `KEYS` and `ARGV`, and `nowMs` (Redis's clock, milliseconds since 1970).
 * It must read before it writes: an error does not undo earlier writes.
 * `KEYS` and `ARGV` are tables that all operations of a call share: the code must not store or return them.
 * Code above a line `-- each operation` runs once per call, before the operations: functions and shared values.
 * `time` is the reply of TIME, for microseconds.
 */
interface ScriptDefinition<Value> {
  /** the Lua file: `new URL('./consume.lua', import.meta.url)` */
  url: URL
  /** measured Redis CPU time of one operation; it limits the number of operations per call */
  costMicroseconds: number
  /** parses the reply: strings are text, integers are numbers, false and nil are null (inside arrays Lua code must use false) */
  read: (reply: unknown) => Value
}

const namesBySha1 = new Map<string, string>()

/** Maximum Redis CPU time of one call: all other clients wait meanwhile. */
const callBudgetMicroseconds = 250

/**
 * A Lua script that runs many operations in one call, each with its own keys, arguments and reply or error.
 *
 * `encodeScriptCall` writes the arguments of a call.
 */
export class Script<Value> {
  /** `evalsha` and the name of the Lua file; see `CommandCounters` */
  readonly name: string
  readonly lua: string
  readonly sha1: string
  readonly operationsPerCall: number
  readonly read: (reply: unknown) => Value

  constructor (definition: ScriptDefinition<Value>) {
    this.name = `evalsha ${basename(definition.url.pathname, '.lua')}`
    this.lua = grouped(readFileSync(definition.url, 'utf8'))
    this.sha1 = createHash('sha1').update(this.lua).digest('hex')
    this.operationsPerCall = Math.max(1, Math.floor(callBudgetMicroseconds / definition.costMicroseconds))
    this.read = definition.read
    namesBySha1.set(this.sha1, this.name)
  }
}

/** @returns `evalsha` and the name of a script of this package, by its SHA-1; undefined for another script */
export function scriptNameOf (sha1: string): string | undefined {
  return namesBySha1.get(sha1)
}

/** Reading the clock costs as much as a simple command: only scripts that use it do. */
const clock = `local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)`

function withoutComments (lua: string): string {
  return lua.replaceAll(/^\s*--.*$/gm, '')
}

/** Wraps the Lua code of one operation in a loop. Tables are created once per call, because creating them costs more than most operations. A failed operation replies with an error inside the array, and the others continue. */
function grouped (lua: string): string {
  const [operation = '', once = ''] = lua.split(/^-- each operation$/m).reverse()
  // A misspelled line would run the whole file for each operation: the same results at many times the cost.
  if (/^-- each \w+$/m.test(operation + once)) throw new Error('A script is divided by the line "-- each operation"')
  return `${/\b(?:nowMs|time)\b/.test(withoutComments(operation + once)) ? clock : ''}
${once}
local function run(KEYS, ARGV)
${operation}
end
-- A call with one operation has its keys and arguments in order.
if string.find(ARGV[1], '^1 %d+ %d+ ;$') then
  table.remove(ARGV, 1)
  local isFine, answer = pcall(run, KEYS, ARGV)
  if isFine then return { answer or false } end
  return { { err = type(answer) == 'table' and answer.err or tostring(answer) } }
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
    local isFine, answer = pcall(run, keys, args)
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
