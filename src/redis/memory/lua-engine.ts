import { readFileSync } from 'node:fs'
import type { ReplyValue } from 'lua-redis-wasm'
import { importPeer } from '../../shared/optional-peer.ts'
import { emulatedVersion } from './version.ts'
import { DoubleReply, ErrorReply, formatDouble, MapReply, NullArray, PushReply, Status } from './reply.ts'
import type { Reply } from './reply.ts'

type Engine = Awaited<ReturnType<typeof import('lua-redis-wasm')['LuaWasmEngine']['create']>>
type CallCommand = (args: readonly Buffer[]) => Reply

/** The engine's memory does not grow; a script whose arguments do not fit would end it. Redis's own limit is 512 MB for each argument. */
const maxScriptBytes = 8 * 1024 * 1024

/** One engine for the process: a script leaves nothing behind in it, because its globals are read-only. */
let engine: Engine | undefined
let loading: Promise<void> | undefined
/** runs the commands of the script that is running */
let callCommand: CallCommand = () => { throw new ErrorReply('ERR no script is running') }

/** Whether scripts can run now. If not, wait for {@link loadEngine}. */
export function isEngineLoaded (): boolean {
  return engine !== undefined
}

/**
 * Loads the Lua engine, once.
 *
 * @throws {PeerMissingError} PRISM_ERR_PEER_MISSING if lua-redis-wasm is not installed
 */
export async function loadEngine (): Promise<void> {
  loading ??= load().catch((error: unknown) => {
    loading = undefined
    throw error
  })
  await loading
}

async function load (): Promise<void> {
  const { LuaWasmEngine } = await importPeer("redis: 'memory'", 'lua-redis-wasm', async () => await import('lua-redis-wasm'))
  const redisCall = (args: Buffer[]): ReplyValue => toLua(callCommand(args))
  engine = await LuaWasmEngine.create({
    host: { redisCall, redisPcall: redisCall, log: () => {} },
    profile: 'redis-7.0',
    redisProps: { REDIS_VERSION: { value: emulatedVersion }, acl_check_cmd: { returns: true }, replicate_commands: { returns: true }, set_repl: { returns: null } }
  })
}

/**
 * Runs a script. The commands that it calls run at once.
 *
 * @throws {ErrorReply} what the script throws
 */
export function runScript (text: Buffer, keys: readonly Buffer[], args: readonly Buffer[], call: CallCommand): Reply {
  if (engine === undefined) throw new ErrorReply('LOADING the Lua engine is loading')
  const bytes = [...keys, ...args].reduce((sum, { length }) => sum + length, text.length)
  if (bytes > maxScriptBytes) throw new ErrorReply(`ERR redis: 'memory' runs scripts with at most ${maxScriptBytes} bytes of arguments`)
  callCommand = call
  try {
    return fromLua(engine.evalWithArgs(supplemented(bodyOf(text)), [...keys], [...args]))
  } catch (error) {
    // An engine that has run out of memory is not usable any more.
    engine = undefined
    loading = undefined
    loadEngine().catch(() => {})
    throw error instanceof ErrorReply ? error : new ErrorReply('ERR the script used more memory than the Lua engine has')
  }
}

/** Lua code on one line, so that the lines of the script after it keep their numbers. */
function onOneLine (url: URL): string {
  return readFileSync(url, 'utf8').replace(/--.*$/gm, '').replace(/\s+/g, ' ')
}

/** What a script needs beside the engine: see the comments in these files. */
const supplements = [
  { isFor: (text: Buffer) => text.includes('format'), lua: Buffer.from(onOneLine(new URL('./string-format.lua', import.meta.url))) },
  { isFor: (text: Buffer) => text.includes('struct'), lua: Buffer.from(onOneLine(new URL('./struct.lua', import.meta.url))) }
]

function supplemented (text: Buffer): Buffer {
  const needed = supplements.filter(({ isFor }) => isFor(text)).map(({ lua }) => lua)
  return needed.length === 0 ? text : Buffer.concat([...needed, text])
}

/** Without the line `#!lua flags=…`, which Redis reads itself; the line break stays, so that errors name the right line. */
function bodyOf (text: Buffer): Buffer {
  return text[0] === 0x23 && text[1] === 0x21 ? text.subarray(Math.max(0, text.indexOf('\n'))) : text
}

/** As Redis converts a reply for a script, in RESP2. */
function toLua (reply: Reply): ReplyValue {
  if (reply instanceof Status) return { ok: Buffer.from(reply.text) }
  if (reply instanceof ErrorReply) return { err: Buffer.from(reply.message) }
  if (reply instanceof MapReply || reply instanceof PushReply) return reply.items.map(toLua)
  if (reply instanceof DoubleReply) return Buffer.from(formatDouble(reply.value))
  if (reply instanceof NullArray) return null
  return Array.isArray(reply) ? reply.map(toLua) : reply as ReplyValue
}

function fromLua (value: ReplyValue): Reply {
  if (value === null || typeof value === 'number' || typeof value === 'bigint' || Buffer.isBuffer(value)) return value
  if (typeof value === 'boolean') return value ? 1 : null
  if (Array.isArray(value)) return value.map(fromLua)
  if ('ok' in value) return new Status(value.ok.toString())
  if ('err' in value) return errorOf(value)
  throw new ErrorReply('ERR the script returned a type of RESP3')
}

/** An error that ended the script names the script and the line, as Redis does; one that the script returned is unchanged. */
function errorOf ({ err, code, meta }: Extract<ReplyValue, { err: Buffer }>): ErrorReply {
  const text = code === undefined ? err.toString() : `${code.toString()} ${messageOf(err.toString(), meta)}`
  return new ErrorReply(meta === undefined ? text : `${text} script: ${meta.sha}, on @user_script:${meta.line}.`)
}

function messageOf (text: string, meta: { kind?: string, name?: string, line: number } | undefined): string {
  if (meta?.kind === 'global-read') return `user_script:${meta.line}: Script attempted to access nonexistent global variable '${meta.name}'`
  return meta?.kind === 'command-arg-type' ? 'Lua redis lib command arguments must be strings or integers' : text
}
