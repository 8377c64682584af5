import type { Redis } from 'ioredis'

/** Handshake commands whose errors ioredis ignores: it continues in database 0, without a name, or without READONLY. After a HELLO or AUTH error it ends the attempt itself. */
const ignored = ['select', 'client', 'readonly'] as const

type Step = typeof ignored[number]
type Sender = (...args: unknown[]) => Promise<unknown>
/** Members that ioredis does not declare. */
type InHandshake = Record<Step, Sender> & { condition: { handshake?: boolean } | null }

/**
 * Ends a connection when the server rejects a handshake command: the client emits an `error` with the command and the server's reason, and reconnects as
 * after any other failure. The same commands outside the handshake are not affected. Duplicates do the same, because some libraries open their
 * connections as duplicates of a given client.
 */
export function enforceHandshake (client: Redis): void {
  const { duplicate } = client
  const duplicateEnforced: typeof duplicate = (overrides) => {
    const copy = duplicate.call(client, overrides)
    enforceHandshake(copy)
    return copy
  }
  client.duplicate = duplicateEnforced
  const steps = client as unknown as InHandshake
  for (const step of ignored) {
    const send = steps[step]
    const sendChecked: typeof send = (...args) => {
      const sent = send.apply(client, args)
      return steps.condition?.handshake === true && !isOptional(args) ? sent.catch((error: Error) => refused(client, nameOf(step, args), error)) : sent
    }
    steps[step] = sendChecked
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

/** Never settles: ioredis would otherwise report the connection as ready before its socket is closed. */
function refused (client: Redis, step: string, error: Error): Promise<never> {
  if (error.name !== 'ReplyError') throw error // the connection failed and emits its own error
  client.stream.destroy(new Error(`the server rejected ${step}: ${error.message}`))
  return new Promise(() => {})
}
