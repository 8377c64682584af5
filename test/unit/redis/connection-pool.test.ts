import { Command, Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { connectionFactory } from '../../../src/redis/connect.ts'
import type { OutgoingCommand, Connection } from '../../../src/redis/connection.ts'
import { ConnectionPool } from '../../../src/redis/connection-pool.ts'
import type { ConnectionPoolOptions } from '../../../src/redis/connection-pool.ts'
import { startRig } from '../../support/faults.ts'
import type { Rig } from '../../support/faults.ts'
import { until } from '../../support/until.ts'

async function start (t: Test, options: Partial<ConnectionPoolOptions> = {}): Promise<Rig & { connections: ConnectionPool }> {
  const rig = await startRig(t)
  const open = connectionFactory({ kind: 'server', options: { host: rig.proxy.host, port: rig.proxy.port } }, {})
  const connections = new ConnectionPool({ open: () => open('commands'), min: 2, max: 3, onReady: () => {}, onOutage: () => {}, onClusterNode: () => {}, onDenied: () => {}, ...options })
  t.after(() => connections.close())
  await until(() => connections.all.every((connection) => connection.isReady), { what: 'all connections are ready' })
  return { ...rig, connections }
}

/** A command whose result is reported only by its own promise. */
function outgoing (connection: Connection, command: Command): OutgoingCommand {
  return { name: command.name, args: command.args, command, fill: undefined, health: connection.healthOf({ command }), isOpen: true, isReplied: false, sentAt: 0, resends: 0, resolve: command.resolve, reject: command.reject, replied: () => {}, failed: () => {} }
}

function crowd (connections: ConnectionPool, commands = 600): Promise<unknown> {
  const all = Array.from({ length: commands }, () => new Command('get', ['key'], { replyEncoding: 'utf8' }))
  const connection = connections.choose()
  connection?.write(all.map((command) => outgoing(connection, command)))
  return Promise.allSettled(all.map(({ promise }) => promise))
}

t.test('pool writes to the first connection until it is crowded, then to the next', async (t) => {
  const { connections } = await start(t)
  const [first, second] = connections.all

  t.equal(connections.choose(), first)
  const replies = crowd(connections)
  t.equal(connections.choose(), second)
  await replies

  t.equal(connections.choose(), first)
})

t.test('pool opens one more connection while all are crowded, up to its maximum, and then uses the least crowded', async (t) => {
  const { connections, proxy } = await start(t, { min: 1, max: 2 })
  await proxy.fault('latency', { delayMs: 100 })

  const replies = [crowd(connections, 700)]
  connections.choose()
  await until(() => connections.all.length === 2 && connections.all.every((connection) => connection.isReady), { what: 'one more connection is ready' })
  replies.push(crowd(connections, 700), crowd(connections, 700), crowd(connections, 600))
  const least = [...connections.all].sort((one, other) => one.inFlight - other.inFlight)[0]
  const chosen = connections.choose()
  await proxy.heal()
  await Promise.all(replies)

  t.equal(chosen, least)
  t.equal(connections.all.length, 2)
})

t.test('pool reads a reply of a megabyte on another connection than small replies', async (t) => {
  const { connections } = await start(t, { min: 2, max: 2 })
  const [first, second] = connections.all

  const chosen = connections.chooseFor(1_000_000)
  if (second) second.expectedBytes = 1_000_000
  const next = connections.chooseFor(1_000_000)
  if (first) first.expectedBytes = 1_000_000

  t.equal(chosen, second)
  t.equal(next, first)
  t.equal(connections.chooseFor(1_000_000), undefined)
})

t.test('pool closes idle connections, down to its minimum', async (t) => {
  const { connections } = await start(t, { min: 1, max: 3, idleMs: 20 })
  const replies = crowd(connections)
  connections.choose()
  await replies

  await until(() => connections.all.length === 1, { what: 'the idle connection is closed' })

  t.equal(connections.choose(), connections.all[0])
})

t.test('pool replaces a connection that has ended', async (t) => {
  const { connections } = await start(t)
  const [first] = connections.all

  first?.client.disconnect()
  await until(() => connections.all.length === 2 && connections.all.every((connection) => connection !== first && connection.isReady), { what: 'another connection replaces it' })

  t.ok(connections.choose())
})

t.test('pool uses other connections while one is half open, and uses it again later', async (t) => {
  const { connections, proxy, control } = await start(t)
  const [first, second] = connections.all
  await proxy.fault('halfOpen')
  await until(() => second?.probe(), { what: 'the second connection is new' })

  const chosen = await until(async () => {
    const connection = connections.choose()
    const isWell = await connection?.probe()
    return isWell ? connection : undefined
  }, { what: 'a connection that responds' })

  t.ok(chosen)
  await until(() => connections.all.every((connection) => connection.isReady && !connection.isUnresponsive), { what: 'all connections respond' })
  t.equal(connections.choose(), first)
  t.equal(await control.ping(), 'PONG')
})

t.test('pool replaces a connection that transfers bytes, but no reply in time', { timeout: 300_000 }, async (t) => {
  const { connections, proxy } = await start(t, { min: 1, max: 1 })
  await proxy.fault('throttle', { bytesPerSecond: 200 })
  const trickle = setInterval(() => connections.choose()?.probe(), 50)
  t.after(() => clearInterval(trickle))
  await until(() => connections.all[0]?.isUnresponsive, { what: 'a reply is late' })

  const accepted = proxy.accepted
  await proxy.fault('latency', { delayMs: 0 }) // the old connection remains slow, a new one is not
  await until(() => connections.all[0]?.isReady && !connections.all[0].isUnresponsive, { what: 'replies arrive in time again' })

  t.ok(proxy.accepted > accepted)
})

t.test('pool leaves a server that is no longer a master, once its other replies have arrived', async (t) => {
  const { connections, proxy, control } = await start(t, { min: 1, max: 1 })
  await control.replicaof('127.0.0.1', '1')
  const accepted = proxy.accepted

  const write = new Command('set', ['key', 'value'])
  const read = new Command('get', ['key'])
  const connection = connections.choose()
  connection?.write([outgoing(connection, write), outgoing(connection, read)])

  await t.rejects(write.promise, /READONLY/)
  t.equal(await read.promise, null)
  await until(() => proxy.accepted > accepted, { what: 'a new connection, perhaps to the new master' })
})

t.test('pool uses a server that was busy during the handshake once it responds', async (t) => {
  const { connections, control } = await start(t, { min: 1, max: 1 })
  await control.config('SET', 'busy-reply-threshold', '1')
  const runner = control.duplicate()
  runner.on('error', () => {})
  t.after(() => runner.disconnect())
  runner.eval('while true do end', 0).catch(() => {})
  await until(() => control.ping().then(() => false, (error: Error) => error.message.startsWith('BUSY')), { what: 'the server is busy' })
  connections.all[0]?.client.disconnect(true)
  await until(() => connections.all[0]?.client.status === 'ready' && !connections.all[0].isReady, { what: 'a connection whose handshake is not complete' })

  await control.call('SCRIPT', 'KILL')

  await until(() => connections.choose(), { what: 'the handshake is complete' })
  t.pass('ready')
})

t.test('pool reports at once that no first connection could be made, and that it was closed', async (t) => {
  const open = () => new Redis(1, '127.0.0.1', { retryStrategy: () => 10_000, maxRetriesPerRequest: 0, enableOfflineQueue: false }).on('error', () => {})
  const options = { open, min: 2, max: 2, onReady: () => {}, onOutage: () => {}, onClusterNode: () => {}, onDenied: () => {} }
  const connections = new ConnectionPool(options)

  t.equal(await connections.firstConnection, false)
  connections.close()
  const closed = new ConnectionPool(options)
  closed.close()

  t.equal(await closed.firstConnection, false)
  t.same(closed.all, [])
})
