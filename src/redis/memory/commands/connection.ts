import { integerOf, latin1, OptionReader, syntaxError, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, ClientState, Command } from '../call.ts'
import { bulk, ErrorReply, MapReply, ok, Status } from '../reply.ts'
import type { Reply } from '../reply.ts'
import { emulatedVersion } from '../version.ts'
import { discard } from './transactions.ts'
import { unsubscribeAll } from './subscriptions.ts'

function hello ({ args, client }: Call): Reply {
  const options = new OptionReader(args, 0)
  if (!options.isAtEnd) {
    const protocol = integerOf(options.value(), 'ERR Protocol version is not an integer or out of range')
    if (protocol !== 2 && protocol !== 3) throw new ErrorReply('NOPROTO unsupported protocol version')
    const name = readHello(options)
    client.protocol = protocol
    client.name = name ?? client.name
  }
  const facts: readonly (readonly [string, Reply])[] = [['server', bulk('redis')], ['version', bulk(emulatedVersion)], ['proto', client.protocol], ['id', client.id], ['mode', bulk('standalone')], ['role', bulk('master')], ['modules', []]]
  return new MapReply(facts.flatMap(([name, value]) => [bulk(name), value]))
}

/** The user `default` has no password, so that every password is accepted, as by a Redis without one. */
function readHello (options: OptionReader): string | undefined {
  let name: string | undefined
  while (!options.isAtEnd) {
    const option = options.next()
    if (option === 'SETNAME') name = latin1(options.value())
    else if (option === 'AUTH') readLogin(latin1(options.value()), options.value())
    else throw new ErrorReply(syntaxError)
  }
  return name
}

function readLogin (user: string, _password: Buffer): void {
  if (user !== 'default') throw new ErrorReply('WRONGPASS invalid username-password pair or user is disabled.')
}

function authenticate ({ args }: Call): Reply {
  if (args.length === 1) throw new ErrorReply('ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?')
  readLogin(latin1(args[0]), args[1] as Buffer)
  return ok
}

function describe ({ id, name, database }: Pick<ClientState, 'id' | 'name' | 'database'>): string {
  return `id=${id} addr=memory laddr=memory fd=-1 name=${name} db=${database} resp=3 user=default lib-name= lib-ver=`
}

function clientCommand ({ args, client, server }: Call): Reply {
  const subcommand = word(args[0])
  if (subcommand === 'SETNAME') client.name = latin1(args[1])
  else if (subcommand === 'ID') return client.id
  else if (subcommand === 'GETNAME') return client.name === '' ? null : bulk(client.name)
  else if (subcommand === 'INFO') return bulk(`${describe(client)}\n`)
  else if (subcommand === 'LIST') return bulk([...server.clients].map(([id, { name, database }]) => `${describe({ id, name, database })}\n`).join(''))
  else if (subcommand !== 'SETINFO' && subcommand !== 'NO-EVICT' && subcommand !== 'NO-TOUCH') throw new ErrorReply(`ERR unknown subcommand '${latin1(args[0])}'. redis: 'memory' implements SETNAME, GETNAME, SETINFO, ID, INFO and LIST of CLIENT`)
  return ok
}

function ping ({ args, client }: Call): Reply {
  const isSubscriber = client.protocol === 2 && client.channels.size + client.patterns.size > 0
  if (isSubscriber) return [bulk('pong'), args[0] ?? Buffer.alloc(0)]
  return args[0] ?? new Status('PONG')
}

function reset (call: Call): Reply {
  const { client } = call
  discard(call)
  unsubscribeAll(call)
  Object.assign(client, { protocol: 2, database: 0, name: '' })
  return new Status('RESET')
}

const ofConnections = { isForScripts: false }
const immediate = { isForScripts: false, isImmediate: true }

export const connection: Readonly<Record<string, Command>> = {
  ping: command(0, 1, ping),
  echo: command(1, 1, ({ args }) => args[0] as Buffer),
  hello: command(0, many, hello, ofConnections),
  auth: command(1, 2, authenticate, ofConnections),
  select: command(1, 1, ({ args, client, server }) => {
    const database = integerOf(args[0])
    server.keyspace(database)
    client.database = database
    return ok
  }, ofConnections),
  client: command(1, many, clientCommand, ofConnections),
  readonly: command(0, 0, () => ok, ofConnections),
  reset: command(0, 0, reset, immediate),
  quit: command(0, many, ({ client }) => {
    client.quit()
    return ok
  }, immediate)
}
