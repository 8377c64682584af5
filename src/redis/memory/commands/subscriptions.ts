import { latin1, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { bulk, ErrorReply, MapReply, PushReply } from '../reply.ts'
import type { Reply } from '../reply.ts'

type Kind = 'subscribe' | 'unsubscribe'

/** Each name has its own message; there is no other reply. */
function confirm ({ client }: Call, kind: Kind, isPattern: boolean, name: string | undefined): void {
  const count = client.channels.size + client.patterns.size
  client.send(new PushReply([bulk(isPattern ? `p${kind}` : kind), name === undefined ? null : Buffer.from(name, 'latin1'), count]))
}

function subscribe (call: Call, isPattern: boolean): undefined {
  const { args, client, server } = call
  const names = isPattern ? client.patterns : client.channels
  for (const name of args.map(latin1)) {
    names.add(name)
    server.pubsub.subscribe(name, client, isPattern)
    confirm(call, 'subscribe', isPattern, name)
  }
}

function unsubscribe (call: Call, isPattern: boolean): undefined {
  const { args, client, server } = call
  const names = isPattern ? client.patterns : client.channels
  const given = args.length === 0 ? [...names] : args.map(latin1)
  for (const name of given) {
    names.delete(name)
    server.pubsub.unsubscribe(name, client, isPattern)
    confirm(call, 'unsubscribe', isPattern, name)
  }
  if (given.length === 0) confirm(call, 'unsubscribe', isPattern, undefined)
}

/** Ends all subscriptions of a client, without messages. */
export function unsubscribeAll ({ client, server }: Pick<Call, 'client' | 'server'>): void {
  for (const name of client.channels) server.pubsub.unsubscribe(name, client)
  for (const name of client.patterns) server.pubsub.unsubscribe(name, client, true)
  client.channels.clear()
  client.patterns.clear()
}

function inspect ({ args, server: { pubsub } }: Call): Reply {
  const subcommand = word(args[0])
  if (subcommand === 'CHANNELS') return pubsub.channels(args[1] === undefined ? '*' : latin1(args[1])).map((name) => Buffer.from(name, 'latin1'))
  if (subcommand === 'NUMSUB') return new MapReply(args.slice(1).flatMap((name) => [name, pubsub.subscribers(latin1(name))]))
  if (subcommand === 'NUMPAT') return pubsub.patternCount
  throw new ErrorReply(`ERR unknown subcommand '${latin1(args[0])}'. Try PUBSUB HELP.`)
}

const ofConnections = { isForScripts: false }

export const subscriptions: Readonly<Record<string, Command>> = {
  subscribe: command(1, many, (call) => subscribe(call, false), ofConnections),
  psubscribe: command(1, many, (call) => subscribe(call, true), ofConnections),
  unsubscribe: command(0, many, (call) => unsubscribe(call, false), ofConnections),
  punsubscribe: command(0, many, (call) => unsubscribe(call, true), ofConnections),
  publish: command(2, 2, ({ args, server }) => server.pubsub.publish(args[0] as Buffer, args[1] as Buffer)),
  pubsub: command(1, many, inspect)
}
