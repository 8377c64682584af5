import { latin1 } from './arguments.ts'
import type { Call, ClientState, Command } from './call.ts'
import { commands } from './commands/table.ts'
import { ErrorReply, Status } from './reply.ts'
import type { Reply } from './reply.ts'
import type { ServerState } from './server-state.ts'

const queued = new Status('QUEUED')
/** What a client may send while it subscribes, in RESP2. */
const forSubscribers = new Set(['subscribe', 'unsubscribe', 'psubscribe', 'punsubscribe', 'ping', 'quit', 'reset'])

/**
 * Executes a command that a client sent, or queues it in its transaction.
 *
 * @returns the reply; undefined if messages replace it
 */
export function execute (server: ServerState, client: ClientState, args: readonly Buffer[]): Reply | undefined {
  server.tick()
  server.counts.commands += 1
  const name = latin1(args[0]).toLowerCase()
  const command = find(name, args)
  if (command instanceof ErrorReply) {
    client.hasQueueError = client.queue !== undefined
    return command
  }
  if (client.queue !== undefined && !command.isImmediate) {
    // The arguments are parts of a larger buffer, which the transaction must not keep.
    client.queue.push(args.map((arg) => Buffer.from(arg)))
    return queued
  }
  if (client.protocol === 2 && client.channels.size + client.patterns.size > 0 && !forSubscribers.has(name)) {
    return new ErrorReply(`ERR Can't execute '${name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context`)
  }
  return run(command, server, client, args, client.protocol)
}

function find (name: string, args: readonly Buffer[]): Command | ErrorReply {
  const command = commands.get(name)
  if (command === undefined) return new ErrorReply(`ERR unknown command '${latin1(args[0])}'. redis: 'memory' implements the commands of fastify-prism and the most common others: use a Redis for this one`)
  const count = args.length - 1
  return count < command.min || count > command.max ? new ErrorReply(`ERR wrong number of arguments for '${name}' command`) : command
}

function run (command: Command, server: ServerState, client: ClientState, args: readonly Buffer[], protocol: 2 | 3): Reply | undefined {
  const call: Call = { server, client, protocol, keyspace: server.keyspace(client.database), args: args.slice(1), run: (inner, isInScript) => runInner(server, client, inner, isInScript) }
  try {
    return command.run(call)
  } catch (error) {
    if (error instanceof ErrorReply) return error
    throw error
  }
}

/** Runs a command of a script or of a transaction. */
function runInner (server: ServerState, client: ClientState, args: readonly Buffer[], isInScript: boolean): Reply {
  if (args.length === 0) return new ErrorReply('ERR Please specify at least one argument for this redis.call()/redis.pcall() call')
  const command = find(latin1(args[0]).toLowerCase(), args)
  if (command instanceof ErrorReply) return isInScript ? errorInScript(args) : command
  if (isInScript && !command.isForScripts) return new ErrorReply('ERR This Redis command is not allowed from script')
  return run(command, server, client, args, isInScript ? 2 : client.protocol) ?? null
}

function errorInScript ([name]: readonly Buffer[]): ErrorReply {
  const isKnown = commands.has(latin1(name).toLowerCase())
  return new ErrorReply(isKnown ? 'ERR Wrong number of args calling Redis command from script' : `ERR Unknown Redis command called from script: redis: 'memory' does not implement ${latin1(name)}`)
}
