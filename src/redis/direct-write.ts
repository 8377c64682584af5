import { Cluster, Redis } from 'ioredis'
import { encodeCommands } from './batch/resp-encoder.ts'
import type { FillCommand } from './batch/resp-encoder.ts'

/** A command in ioredis's queue of commands that wait for a reply: the members of its own `Command` that ioredis then uses. */
export interface QueuedCommand {
  readonly name: string
  readonly args: readonly unknown[]
  /** undefined: ioredis must encode the command */
  readonly fill: FillCommand | undefined
  resolve (reply: unknown): void
  reject (error: Error): void
}

/** Members of a client that ioredis's types hide. */
interface HiddenMembers {
  readonly condition: { readonly select: number, readonly subscriber: unknown } | null
  readonly commandQueue: { push (item: { readonly command: QueuedCommand, readonly stream: undefined, readonly select: number }): void }
}

/**
 * Whether `sendCommand` is ioredis's own: a tracing agent replaces it, and must then see all commands. Its source text is compared, because an agent has
 * replaced it before this module is loaded.
 */
const isTraced = !Function.prototype.toString.call(Redis.prototype.sendCommand).includes('commandQueue.push')

/**
 * Whether commands can be written to the client's socket without ioredis's `sendCommand`: it is connected to one server, and uses no timer or check of
 * ioredis for each command.
 */
export function isWritable (client: Redis | Cluster): client is Redis {
  if (isTraced || client instanceof Cluster) return false
  const { status, options, stream } = client
  return status === 'ready' && stream?.writable && options.commandTimeout === undefined && options.socketTimeout === undefined && !(client as unknown as HiddenMembers).condition?.subscriber
}

/**
 * Writes commands to the client's socket in one piece, and adds them to the queue of commands that wait for a reply. ioredis reads the replies, and rejects
 * the commands when the connection ends. Measured for a batch of four commands, `sendCommand` and the promises and closures of its commands cost more than
 * the batch itself; see docs/adr/.
 */
export function writeDirectly (client: Redis, commands: readonly QueuedCommand[]): void {
  const { commandQueue, condition } = client as unknown as HiddenMembers
  const select = condition?.select ?? 0
  const encoded = encodeCommands(commands.map(({ fill }) => fill as FillCommand))
  if (typeof encoded === 'string') client.stream.write(encoded, 'latin1')
  else client.stream.write(encoded)
  for (const command of commands) commandQueue.push({ command, stream: undefined, select })
}
