import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { faults, startRig, takeSnapshot, type Rig } from './faults.ts'
import { disconnectTimeout } from './redis-process.ts'
import { until } from './until.ts'

t.setTimeout(180_000)

/** A client of the rig whose handshake is complete. */
async function join (t: Test, rig: Rig): Promise<Redis> {
  const client = new Redis(rig.url, { retryStrategy: null, maxRetriesPerRequest: 0, enableReadyCheck: false, disconnectTimeout })
  client.on('error', () => {}) // each test looks at its own call's error
  t.after(() => client.disconnect())
  await client.ping()
  return client
}

/** True if the write of a new client succeeds. */
async function isWell (rig: Rig): Promise<boolean> {
  const client = new Redis(rig.url, { retryStrategy: null, maxRetriesPerRequest: 0, commandTimeout: 1000, disconnectTimeout })
  client.on('error', () => {}) // set reports it
  try {
    return await client.set('well', 'yes') === 'OK'
  } finally {
    client.disconnect()
  }
}

t.test('every fault in the table can be injected and healed, and leaves the server ready', async (t) => {
  const rig = await startRig(t)
  await rig.control.set('k', 'v')
  await takeSnapshot(rig)

  for (const [name, fault] of Object.entries(faults)) {
    await fault.inject(rig, 200)
    await fault.heal(rig)
    await t.resolves(until(() => isWell(rig), { what: `a newcomer's write after ${name}` }), `${name}: ${fault.does}`)
  }
})

const refusals = [
  ['full', 'OOM', 'a write'],
  ['noReplicas', 'NOREPLICAS', 'a write'],
  ['readOnly', 'READONLY', 'a write'],
  ['masterDown', 'MASTERDOWN', 'a read'],
  ['denied', 'NOPERM', 'a read'],
  ['busy', 'BUSY', 'a read']
] as const

for (const [name, code, what] of refusals) {
  t.test(`${name} replies to ${what} with ${code}`, async (t) => {
    const rig = await startRig(t)
    const client = await join(t, rig)

    await faults[name].inject(rig)
    await t.rejects(what === 'a write' ? client.set('k', 'v') : client.get('k'), { message: new RegExp(`^${code}`) })
    await faults[name].heal(rig)

    t.equal(await client.set('k', 'v'), 'OK')
  })
}

t.test('loading replies LOADING to a client that reconnects, and preserves the data', async (t) => {
  const rig = await startRig(t)
  await rig.control.set('k', 'v')

  await faults.loading.inject(rig)
  const client = new Redis(rig.url, { enableReadyCheck: false, disconnectTimeout })
  t.after(() => client.disconnect())
  await t.rejects(client.get('k'), { message: /^LOADING/ })
  await faults.loading.heal(rig)

  t.equal(await client.get('k'), 'v')
  t.equal(await client.dbsize(), 1, 'nothing else was left behind')
})

for (const name of ['hung', 'asleep', 'paused'] as const) {
  t.test(`${name} leaves connections open and callers waiting until it is healed`, async (t) => {
    const rig = await startRig(t)
    const client = await join(t, rig)
    let settled = false

    await faults[name].inject(rig, 5000)
    const late = client.incr('k').finally(() => { settled = true })
    await until(() => rig.proxy.commands.has('INCR'), { what: 'the command is on its way' })
    t.notOk(settled)
    await faults[name].heal(rig)

    t.equal(await late, 1)
    t.equal(rig.proxy.accepted, 1, 'on the connection of old')
  })
}

t.test('a killed server refuses connections, and restarts empty on its port', async (t) => {
  const rig = await startRig(t)
  await rig.control.set('k', 'v')
  const { pid } = rig.redis

  await faults.killed.inject(rig)
  await t.rejects(join(t, rig))
  await faults.killed.heal(rig)

  t.not(rig.redis.pid, pid)
  t.equal(await (await join(t, rig)).get('k'), null)
})

t.test('a restarted server is empty, and a restored one contains its snapshot', async (t) => {
  const rig = await startRig(t)
  await rig.control.set('k', 'old')
  await takeSnapshot(rig)
  await rig.control.set('k', 'new')

  await faults.restored.inject(rig)
  t.equal(await rig.control.get('k'), 'old')
  await faults.restarted.inject(rig)
  t.equal(await rig.control.get('k'), null)
})

t.test('a flush removes keys and leaves scripts, a script flush the reverse', async (t) => {
  const rig = await startRig(t)
  const client = await join(t, rig)
  const sha = String(await client.script('LOAD', 'return 1'))
  await client.set('k', 'v')

  await faults.scriptsFlushed.inject(rig)
  await t.rejects(client.evalsha(sha, 0), { message: /^NOSCRIPT/ })
  await client.script('LOAD', 'return 1')
  await faults.flushed.inject(rig)

  t.equal(await client.get('k'), null)
  t.equal(await client.evalsha(sha, 0), 1)
})

t.test('a kick closes subscribers too, and all clients can reconnect', async (t) => {
  const rig = await startRig(t)
  const client = await join(t, rig)
  const subscriber = await join(t, rig)
  await subscriber.subscribe('topic')

  await faults.kicked.inject(rig)
  await until(() => client.status === 'end' && subscriber.status === 'end', { what: 'both are closed' })

  t.ok(await isWell(rig))
})

for (const name of ['crowded', 'lockedOut'] as const) {
  t.test(`${name} closes all connections and accepts none`, async (t) => {
    const rig = await startRig(t)
    const client = await join(t, rig)

    await faults[name].inject(rig)
    await until(() => client.status === 'end', { what: 'the client was sent away' })
    await t.rejects(join(t, rig))
    await faults[name].heal(rig)

    t.ok(await isWell(rig))
  })
}
