import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { readAddress } from '../../../src/redis/address.ts'
import { connectionFactory } from '../../../src/redis/connect.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { freePort } from '../../support/ports.ts'
import { startProxy } from '../../support/proxy.ts'
import type { Proxy } from '../../support/proxy.ts'
import { disconnectTimeout, startRedisProcess } from '../../support/redis-process.ts'
import { startTls } from '../../support/tls.ts'
import { until } from '../../support/until.ts'

/** A one-node Cluster behind a proxy, which announces the proxy's address; `url` contains it twice, so that it is read as a Cluster. */
async function startSmallCluster (t: Test): Promise<{ url: string, proxy: Proxy }> {
  const listenPort = await freePort()
  const server = await startRedisProcess(t, { args: ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--cluster-announce-ip', '127.0.0.1', '--cluster-announce-port', String(listenPort)] })
  const operator = new Redis(server.url, { disconnectTimeout })
  t.after(() => operator.disconnect())
  await operator.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await until(async () => String(await operator.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), { what: 'the Cluster is ready' })
  const proxy = await startProxy(t, { port: server.port, listenPort })
  return { url: `${proxy.url},${proxy.url}`, proxy }
}

t.test('connection to a Cluster gives each attempt more time than the one before, while attempts fail', async (t) => {
  const { url, proxy } = await startSmallCluster(t)
  // A reply needs both directions: longer than the first attempt waits.
  await proxy.fault('latency', { delayMs: 200 })
  let attempts = 1

  const client = connectionFactory(readAddress('url', url), {})('commands')
  t.after(() => client.disconnect())
  client.on('reconnecting', () => { attempts += 1 })

  await until(() => client.status === 'ready', { what: 'the slots are known' })
  t.ok(attempts > 1)
})

t.test('connection over TLS gives each attempt more time than the one before, while attempts fail', async (t) => {
  const { ca, port } = await startTls(t)
  const proxy = await startProxy(t, { port })
  // The handshake needs both directions: longer than the first attempt waits.
  await proxy.fault('latency', { delayMs: 300 })
  let attempts = 1

  const client = connectionFactory(readAddress('url', proxy.url.replace('redis', 'rediss')), { tls: { ca } })('commands')
  t.after(() => client.disconnect())
  client.on('reconnecting', () => { attempts += 1 })

  await until(() => client.status === 'ready', { what: 'the handshake is complete' })
  t.ok(attempts > 1)
})

t.test('connection to a Cluster works again after an outage of all nodes with many pending commands', async (t) => {
  const { url, proxy } = await startSmallCluster(t)
  await proxy.fault('down')
  const pool = new PooledRedis(resolveRedisPolicy({ url }))
  t.after(() => pool.quit())
  const outages: boolean[] = []
  pool.on('outage', (isOut: boolean) => outages.push(isOut))

  await until(() => pool.batch.get('key').then(() => false, () => pool.isCircuitOpen), { what: 'the outage is detected' })
  await proxy.heal()
  await until(() => pool.state === 'ready', { what: 'the pool has recovered' })

  t.equal(await until(() => pool.set('key', 'value'), { what: 'the key is written' }), 'OK')
  t.equal(String(await until(() => pool.batch.get('key'), { what: 'the key is read' })), 'value')
  t.same([outages[0], outages.at(-1)], [true, false])
})
