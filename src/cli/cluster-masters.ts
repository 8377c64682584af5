import type { Redis } from 'ioredis'
import { reasonOf } from '../redis/health/unreachable-reason.ts'
import { ConnectError } from './command.ts'
import { bounded } from './connect.ts'

/** Connections to every server that holds keys: a Cluster's masters, or the one that was reached. `open` is told of each that was opened for it. */
export async function mastersOf (reached: Redis, open: (client: Redis) => void): Promise<Redis[]> {
  // A server that forbids the question is taken for one alone.
  const text = await reached.info('cluster').then((info) => /^cluster_enabled:1/m.test(info) ? reached.cluster('NODES') : '', () => '')
  const others = addressesOf(String(text))
  const clients = others.map(({ host, port }) => reached.duplicate({ host, port }))
  for (const client of clients) {
    client.on('error', () => {}) // told by connect()
    open(client)
  }
  await Promise.all(clients.map((client) => connect(client)))
  return clients.length === 0 ? [reached] : clients
}

/** @throws {ConnectError} that names the master which is not reached */
async function connect (client: Redis): Promise<void> {
  let cause: Error | undefined
  client.once('error', (error) => { cause = error })
  await bounded(client.connect()).catch((error: Error) => {
    throw new ConnectError(reasonOf(cause ?? error, { where: `${client.options.host}:${client.options.port}` }))
  })
}

/** `<id> <host>:<port>@<bus port>[,name] <flags> <master> … <slots>`: those that serve slots. */
function addressesOf (nodes: string): { host: string, port: number }[] {
  return nodes.split('\n').flatMap((line) => {
    const [, address = '', flags = '', , , , , link, slots] = line.trim().split(' ')
    const [, host, port] = /^(.+):(\d+)@/.exec(address) ?? []
    const isMaster = /\bmaster\b/.test(flags) && !/\bfail\b|noaddr|handshake/.test(flags) && (link === 'connected' || flags.includes('myself'))
    return isMaster && slots !== undefined && host !== undefined ? [{ host, port: Number(port) }] : []
  })
}
