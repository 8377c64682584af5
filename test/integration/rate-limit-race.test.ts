import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import tap, { test } from 'tap'
import { startRedisProcess } from '../support/redis-process.ts'

interface Server { child: ChildProcess, port: number }

const algorithms = [{ algorithm: 'sliding' }, { algorithm: 'sliding', quota: 50 }, { algorithm: 'fixed', window: '1d' }, { algorithm: 'gcra', window: '1d', burst: 100 }]
/** Options of the routes; each has counters of its own. The last two are of the tests without an algorithm. */
const routes = [...algorithms, {}, {}].map((choice) => ({ quota: 100, window: '10m', ...choice }))

async function start (url: string): Promise<Server> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../support/limited-server.ts'), url, JSON.stringify(routes)], { stdio: ['ignore', 'pipe', 'inherit'] })
  tap.after(() => { child.kill('SIGKILL') })
  const [port] = await once(createInterface(child.stdout), 'line')
  return { child, port: Number(port) }
}

/** The status of one request; 0 if its server was gone. */
function send (port: number, path: string, agent: Agent): Promise<number> {
  return new Promise((resolve) => {
    get({ port, path, host: '127.0.0.1', agent }, (reply) => {
      reply.resume()
      reply.on('end', () => resolve(reply.statusCode ?? 0)).on('error', () => resolve(0))
    }).on('error', () => resolve(0))
  })
}

/** 600 requests to a route from 60 connections, spread over the servers. */
async function flood (servers: readonly Server[], route: number, onResponse = () => {}): Promise<Partial<Record<number, number>>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 60 / servers.length })
  const statuses = await Promise.all(Array.from({ length: 600 }, async (_, index) => {
    const status = await send(servers[index % servers.length]?.port ?? 0, `/${route}`, agent)
    onResponse()
    return status
  }))
  agent.destroy()
  return Object.fromEntries([0, 200, 429].map((status) => [status, statuses.filter((each) => each === status).length]))
}

const { url } = await startRedisProcess(tap)
const servers = await Promise.all([1, 2, 3].map(() => start(url)))

for (const [route, { algorithm }] of algorithms.entries()) {
  const quota = routes[route]?.quota ?? NaN

  test(`exactly the quota of 600 concurrent requests in 3 processes is allowed (${algorithm}, ${quota})`, async (t) => {
    t.same(await flood(servers, route), { 0: 0, 200: quota, 429: 600 - quota })
  })
}

test('exactly 100 of 600 concurrent requests from 60 connections in 2 processes are allowed', async (t) => {
  t.same(await flood(servers.slice(1), routes.length - 2), { 0: 0, 200: 100, 429: 500 })
})

test('no more than the quota is allowed when one of 3 processes is killed during the load', async (t) => {
  const route = routes.length - 1
  let responses = 0

  const counts = await flood(servers, route, () => {
    responses += 1
    if (responses === 30) servers[0]?.child.kill('SIGKILL')
  })
  const more = await flood(servers.slice(1), route)

  t.ok((counts[0] ?? 0) > 0, 'some requests were lost with their process')
  t.ok((counts[200] ?? 0) + (more[200] ?? 0) <= 100)
  t.equal(more[429] ?? 0, 600 - (more[200] ?? 0))
})

tap.end() // the servers would keep this process alive
