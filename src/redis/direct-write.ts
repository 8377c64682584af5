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
 * Whether a client uses ioredis's own `sendCommand`, for one server, without a timer of ioredis for each command. A tracing agent replaces `sendCommand`,
 * and must then see all commands. Its source text is compared, because an agent may have replaced it before this module was loaded.
 */
export function isPlain (client: Redis | Cluster): client is Redis {
  if (client instanceof Cluster) return false
  const { options: { commandTimeout, socketTimeout }, sendCommand } = client
  return commandTimeout === undefined && socketTimeout === undefined && Function.prototype.toString.call(sendCommand).includes('commandQueue.push')
}

/** Whether commands can be written to the socket of a {@link isPlain plain} client now. */
export function isWritable (client: Redis): boolean {
  const { status, stream } = client
  return status === 'ready' && stream?.writable && !(client as unknown as HiddenMembers).condition?.subscriber
}

/**
 * Writes commands to the client's socket in one piece, and adds them to the queue of commands that wait for a reply. ioredis reads the replies, and rejects
 * the commands when the connection ends. Measured for a batch of four commands, `sendCommand` and the promises and closures of its commands cost more than
 * the batch itself; see docs/adr/0024-batches-are-written-past-sendcommand.md.
 */
export function writeDirectly (client: Redis, commands: readonly QueuedCommand[]): void {
  const { commandQueue, condition } = client as unknown as HiddenMembers
  const select = condition?.select ?? 0
  const encoded = encodeCommands(commands.map(({ fill }) => fill as FillCommand))
  if (typeof encoded === 'string') client.stream.write(encoded, 'latin1')
  else client.stream.write(encoded)
  for (const command of commands) commandQueue.push({ command, stream: undefined, select })
}
