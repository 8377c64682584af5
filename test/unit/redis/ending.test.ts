import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { startCluster } from '../../support/cluster.ts'
import { startRig } from '../../support/faults.ts'
import type { Rig } from '../../support/faults.ts'
import { freePort } from '../../support/ports.ts'
import { startSentinel } from '../../support/sentinel.ts'
import { until } from '../../support/until.ts'

const program = fileURLToPath(new URL('../../support/pool-process.ts', import.meta.url))

/** Runs a process with a pool, calls `before` once the pool is open, closes the pool in the process, and waits for the process to exit. */
async function end (t: Test, url: string, before: () => Promise<unknown> | void = () => {}): Promise<{ lines: string[], code: number | null }> {
  const child = spawn(process.execPath, [program, url], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => lines.push(line))
  await until(() => lines.length > 0, { what: 'the pool has started' })
  await before()
  child.stdin.write('close\n')
  await until(() => child.exitCode !== null, { what: 'the process ends by itself' })
  await ended
  return { lines, code: child.exitCode }
}

const fine = { lines: ['ready', 'closed'], code: 0 }

t.test('a closed pool lets its process exit', async (t) => {
  const { url } = await startRig(t)

  t.same(await end(t, url), fine)
})

t.test('a closed pool lets its process exit if it never reached a server', async (t) => {
  t.same(await end(t, `redis://127.0.0.1:${await freePort()}`), { lines: ['degraded', 'closed'], code: 0 })
})

const faults: Record<string, (rig: Rig) => Promise<unknown> | void> = {
  'is down': ({ redis }) => redis.kill(),
  hangs: ({ redis }) => redis.signal('SIGSTOP'),
  'is behind a black hole': ({ proxy }) => proxy.fault('blackHole'),
  'does not complete the handshake': ({ proxy }) => proxy.fault('stalledHandshake'),
  'refuses connections': ({ proxy }) => proxy.fault('down')
}

for (const [what, inject] of Object.entries(faults)) {
  t.test(`a closed pool lets its process exit while Redis ${what}`, async (t) => {
    const rig = await startRig(t)

    t.same(await end(t, rig.url, () => inject(rig)), fine)
  })
}

t.test('a closed pool lets its process exit with a Cluster, running or down', async (t) => {
  const cluster = await startCluster(t)

  t.same(await end(t, cluster.url), fine)
  t.same(await end(t, cluster.url, () => Promise.all(cluster.nodes.map(({ server }) => server.kill()))), fine)
})

t.test('a closed pool lets its process exit with Sentinels, running or down', async (t) => {
  const group = await startSentinel(t)
  const url = `redis+sentinel://${group.sentinels.map(({ host, port }) => `${host}:${port}`).join()}/${group.name}`

  t.same(await end(t, url), fine)
  t.same(await end(t, url, () => Promise.all([...group.sentinels, ...group.servers].map((server) => server.kill()))), fine)
})
