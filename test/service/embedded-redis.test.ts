import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { testDatabase } from '../support/app.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { holdRequest } from '../support/held-request.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

const account = JSON.stringify({ name: 'ada', password: 'correct horse' })

/** The service as started from a terminal: without REDIS_URL, and in its own process group, which receives Ctrl-C as a whole. */
async function startInTerminal (t: Owner) {
  const { REDIS_URL: _url, ...env } = process.env
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../../service/server.ts')], {
    env: { ...env, PORT: '0', HOST: '127.0.0.1', NODE_ENV: 'test', DATABASE_PATH: testDatabase(t) },
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const ended = once(child, 'exit')
  t.after(() => { child.kill('SIGKILL') })
  const logs: string[] = []
  createInterface(child.stdout).on('line', (line) => logs.push(line))
  const url = await until(() => logs.map((line) => /Listening at (http:\S+?)"/.exec(line)?.[1]).find(Boolean), { what: 'the service listens' })
  await until(() => logs.some((line) => line.includes('"Connected to Redis"')), { what: 'the service reaches its Redis' })
  return { pid: child.pid ?? 0, url, port: Number(new URL(url).port), logs, ended }
}

/** The Redis servers that descend from a process. */
function serversOf (pid: number): number[] {
  const parents = new Map(readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((name) => [Number(name), parentOf(name)]))
  const children = [...parents].filter(([, parent]) => parent === pid).map(([child]) => child)
  return [...children.filter((child) => nameOf(child).includes('redis-server')), ...children.flatMap(serversOf)]
}

function parentOf (pid: string): number {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1])
  } catch {
    return 0 // the process has ended meanwhile
  }
}

function nameOf (pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? ''
  } catch {
    return ''
  }
}

const isAlive = (pid: number) => nameOf(pid) !== ''

/** The first ends by Ctrl-C, the second is killed. */
const [one, other] = await Promise.all([startInTerminal(t), startInTerminal(t)])

t.test('embedded Redis serves one service only', async (t) => {
  const cacheStatus = async ({ url }: { url: string }) => (await fetch(`${url}/cities/2988507`)).headers.get('cache-status') ?? ''

  await until(async () => /hit/.test(await cacheStatus(one)), { what: 'a hit at the first service' })

  t.notMatch(await cacheStatus(other), /hit/)
  t.not(serversOf(one.pid)[0], serversOf(other.pid)[0])
})

t.test('embedded Redis survives Ctrl-C until the service has served the requests in progress', async (t) => {
  const service = one
  await fetch(`${service.url}/users`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: account })
  const signIn = await holdRequest(t, service, 'POST /session', account)
  const servers = serversOf(service.pid)

  process.kill(-service.pid, 'SIGINT')
  await until(() => service.logs.some((line) => line.includes('"Stopping"')), { what: 'the signal is seen' })
  const response = await signIn.finish()
  const [code] = await service.ended

  t.match(response, /^HTTP\/1.1 200 .*set-cookie: /is)
  t.equal(code, 0)
  t.equal(servers.length, 1)
  t.notOk(servers.some(isAlive))
})

t.test('embedded Redis ends with a killed service', async (t) => {
  const service = other
  const servers = serversOf(service.pid)

  process.kill(service.pid, 'SIGKILL')
  await service.ended

  t.equal(servers.length, 1)
  await until(() => !servers.some(isAlive), { what: 'its Redis has ended' })
})
