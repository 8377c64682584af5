import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { RedisReplyError } from '../../shared/errors.ts'
import { toPublicError } from '../health/error-class.ts'
import type { PendingReply } from './pending-reply.ts'
import type { RespWriter } from './resp-encoder.ts'
import { addScriptCall } from './script-call.ts'
import type { ScriptArgs } from './script-call.ts'

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

/** One operation of a script, with its own keys and arguments. */
type Operation<Value> = PendingReply<Value> & ScriptArgs

/** A Lua script that runs many operations in one call: how a call is encoded, and how its reply settles the operations. */
export interface BatchScript<Value> {
  /** `evalsha` and the name of the Lua file; see `CommandCounters` */
  readonly name: string
  readonly lua: string
  readonly sha1: string
  readonly operationsPerCall: number
  /** Adds the name and the arguments of one call. @param text the script's text, or its SHA-1 */
  addCall (writer: RespWriter, command: 'eval' | 'evalsha', text: string, operations: readonly Operation<Value>[]): void
  /**
   * Settles the operations of a call.
   *
   * @returns the last error reply of a single operation
   * @throws {RedisReplyError} if the reply is not one of this script
   */
  settle (reply: unknown, operations: readonly Operation<Value>[]): Error | undefined
}

const namesBySha1 = new Map<string, string>()

/** Maximum Redis CPU time of one call: all other clients wait meanwhile. */
const callBudgetMicroseconds = 250

/** A script whose operations have each their own keys, arguments and reply or error. */
export class Script<Value> implements BatchScript<Value> {
  readonly name: string
  readonly lua: string
  readonly sha1: string
  readonly operationsPerCall: number
  readonly read: (reply: unknown) => Value

  constructor (definition: ScriptDefinition<Value>) {
    const { name, lua, sha1, operationsPerCall } = loadLua(definition, grouped)
    this.name = name
    this.lua = lua
    this.sha1 = sha1
    this.operationsPerCall = operationsPerCall
    this.read = definition.read
  }

  addCall (writer: RespWriter, command: 'eval' | 'evalsha', text: string, operations: readonly Operation<Value>[]): void {
    addScriptCall(writer, command, text, operations)
  }

  settle (reply: unknown, operations: readonly Operation<Value>[]): Error | undefined {
    if (!Array.isArray(reply) || reply.length !== operations.length) throw new RedisReplyError('unexpected reply shape')
    let serverError: Error | undefined
    for (let index = 0; index < operations.length; index++) {
      const operation = operations[index] as Operation<Value>
      const result = reply[index] as unknown
      if (result instanceof Error) operation.reject(toPublicError(serverError = result))
      else this.#resolve(operation, textOf(result))
    }
    return serverError
  }

  #resolve (operation: Operation<Value>, reply: unknown): void {
    let value: Value
    try {
      value = this.read(reply)
    } catch (error) {
      return operation.reject(error as Error)
    }
    operation.resolve(value)
  }
}

/**
 * A script that runs one operation a call: `KEYS` and `ARGV` are those of Redis, and an error is the error of the command. For operations that seldom come in
 * numbers: the loop of a {@link Script} takes 6 of 79 µs of a call that Redis runs alone. It has no `nowMs`.
 */
export class SingleScript<Value> implements BatchScript<Value> {
  readonly name: string
  readonly lua: string
  readonly sha1: string
  readonly operationsPerCall = 1
  readonly #read: (reply: unknown) => Value

  constructor (definition: ScriptDefinition<Value>) {
    const { name, lua, sha1 } = loadLua(definition)
    this.name = name
    this.lua = lua
    this.sha1 = sha1
    this.#read = definition.read
  }

  addCall (writer: RespWriter, command: 'eval' | 'evalsha', text: string, operations: readonly Operation<Value>[]): void {
    const [{ keys, args }] = operations as [Operation<Value>]
    writer.add(command)
    writer.add(text)
    writer.addNumber(keys.length)
    for (const key of keys) writer.add(key)
    for (const arg of args) writer.add(arg)
  }

  settle (reply: unknown, operations: readonly Operation<Value>[]): undefined {
    operations[0]?.resolve(this.#read(textOf(reply)))
  }
}

/** Reads a Lua file and registers its name for metrics. */
export function loadLua ({ url, costMicroseconds }: Pick<ScriptDefinition<unknown>, 'url' | 'costMicroseconds'>, wrap: (lua: string) => string = (lua) => lua): Pick<BatchScript<unknown>, 'name' | 'lua' | 'sha1' | 'operationsPerCall'> {
  const lua = wrap(readFileSync(url, 'utf8'))
  const name = `evalsha ${basename(url.pathname, '.lua')}`
  const sha1 = createHash('sha1').update(lua).digest('hex')
  namesBySha1.set(sha1, name)
  return { name, lua, sha1, operationsPerCall: Math.max(1, Math.floor(callBudgetMicroseconds / costMicroseconds)) }
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
  local isFine, result = pcall(run, KEYS, ARGV)
  if isFine then return { result or false } end
  return { { err = type(result) == 'table' and result.err or tostring(result) } }
end
local replies, keys, args, key, arg, i = {}, {}, {}, 0, 1, 0
for alike, keyCount, argCount, own in string.gmatch(ARGV[1], '(%d+) (%d+) (%d+) ([%d,]*);') do
  keyCount, argCount = tonumber(keyCount), tonumber(argCount)
  for j = keyCount + 1, #keys do keys[j] = nil end
  for j = argCount + 1, #args do args[j] = nil end
  local positions, positionCount = {}, 0
  for position in string.gmatch(own, '%d+') do positionCount, positions[positionCount + 1] = positionCount + 1, tonumber(position) end
  local nextOwn = 1
  for j = 1, argCount do
    if positions[nextOwn] == j then
      nextOwn, args[j] = nextOwn + 1, ''
    else
      arg, args[j] = arg + 1, ARGV[arg + 1]
    end
  end
  for _ = 1, tonumber(alike) do
    for j = 1, keyCount do keys[j] = KEYS[key + j] end
    for j = 1, positionCount do args[positions[j]] = ARGV[arg + j] end
    key, arg, i = key + keyCount, arg + positionCount, i + 1
    local isFine, result = pcall(run, keys, args)
    if isFine then
      replies[i] = result or false
    else
      replies[i] = { err = type(result) == 'table' and result.err or tostring(result) }
    end
  end
end
return replies
`
}

/** Decodes the Buffers in a reply as UTF-8, recursively. Numbers, null and errors are not changed. */
function textOf (reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString()
  return Array.isArray(reply) ? reply.map(textOf) : reply
}
