import { latin1 } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { ErrorReply, NullArray, ok } from '../reply.ts'
import type { Reply } from '../reply.ts'

/** Ends a transaction and its watches without running it. */
export function discard ({ client, server }: Pick<Call, 'client' | 'server'>): void {
  client.queue = undefined
  client.hasQueueError = false
  client.isDirty = false
  for (const keyspace of server.keyspaces) keyspace.unwatch(client)
}

function begin ({ client }: Call): Reply {
  if (client.queue !== undefined) throw new ErrorReply('ERR MULTI calls can not be nested')
  client.queue = []
  return ok
}

function execute (call: Call): Reply {
  const { client, keyspace, run } = call
  const { queue, hasQueueError } = client
  if (queue === undefined) throw new ErrorReply('ERR EXEC without MULTI')
  keyspace.sweep() // a watched key that has expired has changed
  const { isDirty } = client
  discard(call)
  if (hasQueueError) throw new ErrorReply('EXECABORT Transaction discarded because of previous errors.')
  return isDirty ? new NullArray() : queue.map((args) => run(args, false))
}

function watch ({ args, client, keyspace }: Call): Reply {
  if (client.queue !== undefined) throw new ErrorReply('ERR WATCH inside MULTI is not allowed')
  for (const key of args) keyspace.watch(latin1(key), client)
  return ok
}

const immediate = { isForScripts: false, isImmediate: true }

export const transactions: Readonly<Record<string, Command>> = {
  multi: command(0, 0, begin, immediate),
  exec: command(0, 0, execute, immediate),
  discard: command(0, 0, (call) => {
    if (call.client.queue === undefined) throw new ErrorReply('ERR DISCARD without MULTI')
    discard(call)
    return ok
  }, immediate),
  watch: command(1, many, watch, immediate),
  unwatch: command(0, 0, ({ client, server }) => {
    client.isDirty = false
    for (const keyspace of server.keyspaces) keyspace.unwatch(client)
    return ok
  }, { isForScripts: false })
}
