import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import type { Test } from 'tap'
import { redisUrl } from './support/app.ts'
import type { Client } from './support/client.ts'
import { signedIn } from './support/neighbour.ts'

const [users, urls, requests, width] = [40, 150, 1_500, 16]
const program = join(import.meta.dirname, 'support/product-process.ts')
const quiet = { DD_INSTRUMENTATION_TELEMETRY_ENABLED: 'false', DD_REMOTE_CONFIGURATION_ENABLED: 'false', DD_TRACE_AGENT_URL: 'http://127.0.0.1:9', DD_TRACE_STARTUP_LOGS: 'false' }

async function startProduct (t: Test, flags: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [...flags, program], { cwd: import.meta.dirname, env: { ...process.env, ...quiet, ECOSYSTEM_REDIS_URL: redisUrl }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const ended = once(child, 'exit').then(([code]) => { throw new Error(`the app ended with ${code}`) })
  ended.catch(() => {})
  const [url] = await Promise.race([once(createInterface(child.stdout), 'line'), ended])
  return url
}

/** Signed-in users request URLs whose popularity is Zipf's; the same requests for each app. @returns the share of requests for which no handler ran */
async function hitRateOf (url: string): Promise<number> {
  const clients = await Promise.all(Array.from({ length: users }, (_, user) => signedIn(url, `user-${user}`)))
  const runs = new Set<number>()
  const next = Array.from({ length: requests }, (_, index) => index).values()
  await Promise.all(Array.from({ length: width }, async () => {
    for (const index of next) {
      const response = await (clients[index % users] as Client).get(`/items/${zipf(random(index))}`)
      runs.add(response.body.run)
    }
  }))
  return 1 - runs.size / requests
}

function zipf (share: number): number {
  return Math.floor(Math.exp(share * Math.log(urls)))
}

/** The same sequence in each run. */
function random (index: number): number {
  const value = Math.sin(index + 1) * 10_000
  return value - Math.floor(value)
}

t.setTimeout(300_000)
t.test('the hit rate of many users under dd-trace is within 1 % of that without', async (t) => {
  const bare = await hitRateOf(await startProduct(t, []))
  const traced = await hitRateOf(await startProduct(t, ['--import', 'dd-trace/initialize.mjs']))
  t.comment(`hit rate ${bare.toFixed(4)} without the agent, ${traced.toFixed(4)} with it`)
  t.ok(bare > 0.85, `${bare} without the agent`)
  t.ok(Math.abs(bare - traced) < 0.01, `${traced} with it`)
})
