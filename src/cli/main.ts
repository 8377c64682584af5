import { parseArgs } from 'node:util'
import type { Redis } from 'ioredis'
import { resolveRedisPolicy } from '../redis/options.ts'
import { PooledRedis } from '../redis/client.ts'
import { readRedisTls } from '../redis/tls.ts'
import { UsageError } from './command.ts'
import type { Call, Command, Environment, ReadService } from './command.ts'
import { doctor } from './doctor.ts'
import { entry } from './entry.ts'
import { keys } from './keys.ts'
import { limits } from './limits.ts'
import { mastersOf } from './cluster-masters.ts'
import { Output } from './output.ts'
import type { Writable } from './output.ts'
import { purge } from './purge.ts'
import { connect } from './connect.ts'
import { sessions } from './sessions.ts'
import { watch } from './watch.ts'

const packageCommands: Readonly<Record<string, Command>> = { doctor, keys, purge, entry, sessions, limits, watch }
const common = { url: { type: 'string' }, prefix: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const

/** What a run is given besides; the process's own streams when left out. */
export interface ProgramIo {
  /** given where the environment is the service's: `doctor` checks it then */
  readonly readService?: ReadService
  /** how the program is started, for help and errors; default `npx fastify-prism` */
  readonly program?: string
  /** further commands, of the service alone */
  readonly serviceCommands?: Readonly<Record<string, Command>>
  readonly out?: Writable
  readonly err?: Writable
}

/**
 * Runs one command of the operator's.
 *
 * @param args those after the program's name
 * @returns the exit code: 0 well, 1 something is wrong, 2 called wrongly
 */
export async function main (args: readonly string[], environment: Environment, surroundings: ProgramIo = {}): Promise<number> {
  const { readService, program = 'npx fastify-prism', serviceCommands = {}, out = process.stdout, err = process.stderr } = surroundings
  const outputFor = (args: readonly string[]) => new Output({ isJson: args.includes('--json'), mayTint: !environment.NO_COLOR }, out, err)
  const commands = { ...packageCommands, ...serviceCommands }
  const [name = '', ...rest] = args
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command === undefined) return help(name, commands, program, outputFor(args))
  const open: (() => void)[] = []
  try {
    const call = readCall(command, rest, { environment, readService, program, output: outputFor(rest) }, open)
    if (call.flags.help === true) return helpOf(command, call)
    return await command.run(call)
  } catch (error) {
    return fail(error, outputFor(rest))
  } finally {
    for (const close of open) close()
  }
}

function readCall (command: Command, args: string[], given: Pick<Call, 'environment' | 'readService' | 'program' | 'output'>, open: (() => void)[]): Call {
  const { values, positionals } = parse(command, args)
  if (positionals.length > 0 && !takesWords(command)) throw new UsageError(`The command ${command.usage.split(' ')[0]} takes no argument: the address of Redis is --url <address>, or REDIS_URL.`)
  const url = (values.url as string | undefined) ?? (given.environment.REDIS_URL?.trim() || undefined)
  const prefix = (values.prefix as string | undefined) ?? ''
  const tls = readRedisTls(given.environment)
  const closing = (redis: Redis) => { open.push(() => redis.disconnect()) }
  const client = async (at = url): Promise<Redis> => {
    const redis = await connect(at, tls)
    closing(redis)
    return redis
  }
  const masters = async (at = url, reached?: Redis) => await mastersOf(reached ?? await client(at), closing)
  const pool = async (at = url): Promise<PooledRedis> => {
    await client(at) // its errors say why Redis cannot be reached
    const opened = new PooledRedis(resolveRedisPolicy({ url: at, min: 1, max: 2, prefix, ...(tls !== undefined && at?.startsWith('rediss') ? { connection: { tls } } : {}) }))
    open.push(() => opened.disconnect())
    await opened.start(3000)
    return opened
  }
  return { ...given, words: positionals, flags: values, url, prefix, client, masters, pool }
}

function takesWords ({ usage }: Command): boolean {
  return usage.replace(/\[.*?\]/g, '').includes('<')
}

function parse (command: Command, args: string[]): { values: Call['flags'], positionals: string[] } {
  try {
    return parseArgs({ args, allowPositionals: true, options: { ...common, ...command.flags } })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function fail (error: unknown, output: Output): number {
  output.progress('')
  output.complain(error instanceof Error ? error.message : String(error))
  return error instanceof UsageError ? 2 : 1
}

function help (name: string, commands: Readonly<Record<string, Command>>, program: string, output: Output): number {
  const isHelp = ['', 'help', '--help', '-h', '--json'].includes(name)
  const all = Object.values(commands)
  const width = Math.max(...all.map(({ usage }) => usage.length))
  const lines = [
    `${program} <command> [options]`,
    '',
    'For operators of an app that stores sessions, cached responses and rate limits in Redis.',
    '',
    'Commands:',
    ...all.map(({ usage, summary }) => `  ${usage.padEnd(width)}  ${summary}`),
    '',
    'Options:',
    ...commonHelp,
    `  ${'--help'.padEnd(optionWidth)}  help for a command: ${program} keys --help`,
    '',
    exitCodes
  ]
  if (isHelp) output.tell({ commands: all.map(({ usage, summary }) => ({ usage, summary })), exitCodes }, lines)
  else output.complain(`Unknown command${/^[a-z-]{1,20}$/i.test(name) ? ` ${name}` : ''}.`, lines) // an address in its place has a password
  return isHelp ? 0 : 2
}

const exitCodes = 'Exit code: 0 success, 1 a failure or a problem that was found, 2 invalid arguments or no address of Redis.'
const optionWidth = 15
const commonHelp = [
  '--url <address>  address of Redis; default: the environment variable REDIS_URL',
  '--prefix <text>  prefix of all keys: the app\'s option redis.prefix',
  '--json           one JSON object for each result; errors too, on standard error'
].map((line) => `  ${line}`)

function helpOf ({ usage, summary, help, flags = {}, examples = [], exitCodes: own }: Command, { program, output }: Call): number {
  const options = Object.entries(flags).map(([name, { type, help = '' }]) => `  ${`--${name}${type === 'string' ? ' <value>' : ''}`.padEnd(optionWidth)}  ${help}`)
  output.tell({ usage, summary, help, examples, exitCodes: own ?? exitCodes }, [
    `${program} ${usage}`,
    '',
    `  ${summary}`,
    '',
    ...help.map((line) => `  ${line}`),
    '',
    'Options:',
    ...options,
    ...commonHelp,
    ...examples.length === 0 ? [] : ['', 'Examples:', ...examples.map((example) => `  ${program} ${example}`)],
    '',
    own ?? exitCodes
  ])
  return 0
}
