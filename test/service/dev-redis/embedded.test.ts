import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { startEmbeddedRedis } from '../../../service/dev-redis/embedded.ts'
import { findRedisServer } from '../../../service/dev-redis/find-binary.ts'
import { until } from '../../support/until.ts'

const parent = `
const { startEmbeddedRedis } = await import(process.argv[1])
process.on('SIGINT', () => console.log('SIGINT'))
const { url, pid, stop } = await startEmbeddedRedis()
console.log(JSON.stringify({ url, pid }))
process.on('SIGTERM', async () => { await stop(); process.exit(0) })
setInterval(() => {}, 1000)
`

function isAlive (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function startParent (t: Test) {
  const module = new URL('../../../service/dev-redis/embedded.ts', import.meta.url).href
  const child = spawn(process.execPath, ['--input-type=module', '-e', parent, module], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => { child.kill('SIGKILL') })
  const lines = createInterface(child.stdout)
  const [line] = await once(lines, 'line')
  const { url, pid }: { url: string, pid: number } = JSON.parse(line)
  return { child, lines, url, pid, folder: dirname(url.slice('unix://'.length)) }
}

t.test('startEmbeddedRedis starts a server in a private folder, configured like a small managed Redis', async t => {
  const redis = await startEmbeddedRedis()
  t.after(() => redis.stop())
  const path = redis.url.slice('unix://'.length)
  const client = new Redis({ path, protocol: 2 })
  t.after(() => client.disconnect())

  t.equal(statSync(dirname(path)).mode & 0o777, 0o700)
  for (const [name, value] of [['save', ''], ['appendonly', 'no'], ['maxmemory', '268435456'], ['maxmemory-policy', 'allkeys-lru'], ['port', '0']] as const) {
    t.strictSame(await client.config('GET', name), [name, value])
  }
})

t.test('two embedded servers are separate, and stop removes a server and its folder', async t => {
  const [one, two] = await Promise.all([startEmbeddedRedis(), startEmbeddedRedis()])
  t.after(() => two.stop())

  await one.stop()

  t.not(one.url, two.url)
  t.notOk(existsSync(dirname(one.url.slice('unix://'.length))))
  t.notOk(isAlive(one.pid))
  t.ok(isAlive(two.pid))
})

t.test('an embedded server ends with a killed parent, and leaves no files', async t => {
  const { child, pid, folder } = await startParent(t)

  child.kill('SIGKILL')

  await until(() => !isAlive(pid) && !existsSync(folder), { what: 'server and folder are gone' })
  t.notOk(isAlive(pid))
})

t.test('a stopped embedded server ends with its parent too', async t => {
  const { child, pid, folder } = await startParent(t)
  process.kill(pid, 'SIGSTOP')

  child.kill('SIGKILL')

  await until(() => !isAlive(pid) && !existsSync(folder), { what: 'server and folder are gone' })
  t.notOk(isAlive(pid))
})

t.test('an embedded server survives Ctrl-C until its parent stops it', async t => {
  const { child, lines, pid, folder } = await startParent(t)

  process.kill(-(child.pid ?? 0), 'SIGINT')
  await once(lines, 'line')
  const alive = isAlive(pid)
  child.kill('SIGTERM')
  await once(child, 'exit')

  t.ok(alive)
  t.notOk(isAlive(pid))
  t.notOk(existsSync(folder))
})

t.test('a missing server, and one that exits at once, are reported with a remedy', async t => {
  await t.rejects(async () => await startEmbeddedRedis({ bin: findRedisServer({ env: { PATH: '' }, unpacked: '/nowhere' }) }), { code: 'PRISM_ERR_REDIS_SERVER_MISSING', message: /apt-get install redis-server/ })
  await t.rejects(startEmbeddedRedis({ bin: '/bin/false' }), { code: 'PRISM_ERR_REDIS_SERVER_START' })
})
