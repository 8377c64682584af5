import { fork } from 'node:child_process'
import { once } from 'node:events'
import autocannon from 'autocannon'
import t from 'tap'
import type { Test } from 'tap'
import { startRedis } from '../support/redis.ts'

t.setTimeout(300_000)

/** Promoted objects stay until the next full collection. Measured with this load: 0.01 MB; 0.1 MB where each command retains its write. */
const maxPromotedBytes = 50_000
const connections = 50
/** The first collections run while V8 compiles the code and the caches of the process fill. */
const warmUpScavenges = 10
const measuredScavenges = 20
/** A small young generation, so that few requests are enough. V8's other settings are the defaults. */
const flags = ['--trace-gc-nvp', '--max-semi-space-size=4']

interface Server { url: string, promoted: number[] }

/** Without metrics: where an app has an onResponse hook, even an empty one, Fastify's listeners of each response are promoted in some processes. */
async function startServer (t: Test): Promise<Server> {
  const { url } = await startRedis(t)
  const child = fork(new URL('../../bench/servers/prism.ts', import.meta.url), { execArgv: flags, silent: true, env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', REDIS_URL: url, QUOTA: '1000000', METRICS: 'off' } })
  t.after(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  const promoted: number[] = []
  let rest = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (/ gc=s /.test(line)) promoted.push(Number(/ promoted=(\d+)/.exec(line)?.[1]))
  })
  const [{ port }] = await once(child, 'message') as [{ port: number }]
  return { url: `http://127.0.0.1:${port}`, promoted }
}

async function signIn (url: string, user: number): Promise<string> {
  const response = await fetch(`${url}/sign-in`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user: `user-${user}` }) })
  await response.text()
  return response.headers.getSetCookie().map((cookie) => String(cookie.split(';')[0])).join('; ')
}

/** Loads the server until it has collected often enough. @returns the median of the bytes that a young collection promoted, after the warm-up */
async function promotedUnderLoad ({ url, promoted }: Server, requests: autocannon.Request[]): Promise<number> {
  promoted.length = 0
  while (promoted.length < warmUpScavenges + measuredScavenges) {
    const { non2xx, errors } = await autocannon({ url, connections, amount: 1000, requests })
    if (non2xx + errors > 0) throw new Error(`${non2xx} responses and ${errors} connections failed`)
  }
  const measured = promoted.slice(warmUpScavenges).sort((one, other) => one - other)
  return measured[measured.length >> 1] ?? NaN
}

t.test('after the replies of Redis, nothing keeps the requests of signed-in users in memory', async (t) => {
  const server = await startServer(t)
  const cookies = await Promise.all(Array.from({ length: 20 }, (_, user) => signIn(server.url, user)))
  const requests = Array.from({ length: 200 }, (_, index) => ({ path: `/items/${index % 30}`, headers: { cookie: cookies[index % cookies.length] ?? '', 'x-forwarded-for': `10.0.0.${index % 100}` } }))

  const bytes = await promotedUnderLoad(server, requests)

  t.comment(`${bytes} bytes promoted`)
  t.ok(bytes <= maxPromotedBytes, `${bytes} bytes promoted`)
})
