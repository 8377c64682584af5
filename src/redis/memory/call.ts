import type { Keyspace } from './keyspace.ts'
import type { Listener } from './pubsub.ts'
import type { Reply } from './reply.ts'
import type { ServerState } from './server-state.ts'

/** What the server knows of a client. */
export interface ClientState extends Listener {
  readonly id: number
  protocol: 2 | 3
  database: number
  name: string
  /** channels and patterns, in latin1 */
  readonly channels: Set<string>
  readonly patterns: Set<string>
  /** the commands since MULTI; undefined outside of a transaction */
  queue: Buffer[][] | undefined
  /** a command of the transaction was rejected: EXEC fails */
  hasQueueError: boolean
  /** a watched key has changed */
  isDirty: boolean
  /** closes the connection after the replies that are due */
  quit (): void
}

/** One call of a command. */
export interface Call {
  readonly server: ServerState
  readonly client: ClientState
  readonly keyspace: Keyspace
  /** of the reply: a script's commands reply in RESP2 */
  readonly protocol: 2 | 3
  /** without the command's name */
  readonly args: readonly Buffer[]
  /** runs another command of the same client, for EXEC and for scripts */
  readonly run: (args: readonly Buffer[], isInScript: boolean) => Reply
}

/** A command: what it does, and the number of its arguments. */
export interface Command {
  /** @returns the reply; undefined if messages replace it @throws {ErrorReply} */
  readonly run: (call: Call) => Reply | undefined
  readonly min: number
  readonly max: number
  /** whether a script may call it; default true */
  readonly isForScripts: boolean
  /** whether it runs between MULTI and EXEC instead of being queued; default false */
  readonly isImmediate: boolean
}

/** Defines a command. @param max default: any number of arguments */
export function command (min: number, max: number, run: Command['run'], { isForScripts = true, isImmediate = false } = {}): Command {
  return { run, min, max, isForScripts, isImmediate }
}

export const many = Infinity
