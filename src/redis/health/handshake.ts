import type { Redis } from 'ioredis'

/** Steps of the handshake whose refusal ioredis ignores: it goes on in database 0, without a name, or without READONLY. HELLO and AUTH end the attempt already. */
const ignored = ['select', 'client', 'readonly'] as const

type Step = typeof ignored[number]
type Sender = (...args: unknown[]) => Promise<unknown>
/** What ioredis does not declare. */
type InHandshake = Record<Step, Sender> & { condition: { handshake?: boolean } | null }

/**
 * Ends a connection when the server refuses a step of its handshake: the client emits an `error` that names the step and the server's reason, and
 * connects again as after any other failure. Commands of the caller's own by the same names are not affected. Its duplicates do the same: some
 * libraries open their connections as duplicates of the client that they are given.
 */
export function enforceHandshake (client: Redis): void {
  const { duplicate } = client
  client.duplicate = (overrides) => {
    const copy = duplicate.call(client, overrides)
    enforceHandshake(copy)
    return copy
  }
  const steps = client as unknown as InHandshake
  for (const step of ignored) {
    const send = steps[step]
    steps[step] = (...args) => {
      const sent = send.apply(client, args)
      return steps.condition?.handshake === true && !isOptional(args) ? sent.catch((error: Error) => refused(client, nameOf(step, args), error)) : sent
    }
  }
}

/**
 * CLIENT SETINFO sends the library's name, which servers before 7.2 do not support. ioredis names the connections on which it reads a Cluster's slot map
 * itself, although no `connectionName` was configured: that user needs no permission for CLIENT SETNAME.
 */
function isOptional ([subcommand, argument]: unknown[]): boolean {
  return String(subcommand).toLowerCase() === 'setinfo' || String(argument).startsWith('ioredis-cluster(')
}

function nameOf (step: Step, [argument]: unknown[]): string {
  return argument === undefined ? step.toUpperCase() : `${step} ${String(argument)}`.toUpperCase()
}

/** The handshake does not complete: ioredis would report the connection as ready before it hears that its socket is closed. */
function refused (client: Redis, step: string, error: Error): Promise<never> {
  if (error.name !== 'ReplyError') throw error // the connection failed, and tells so itself
  client.stream.destroy(new Error(`the server refused ${step}: ${error.message}`))
  return new Promise(() => {})
}
