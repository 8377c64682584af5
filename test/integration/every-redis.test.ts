import t from 'tap'
import { News } from '../support/traffic/event-traffic.ts'
import { Purges, Stampedes } from '../support/traffic/pages.ts'
import { behindSentinels, inCluster, overTls, plain } from '../support/traffic/place-traffic.ts'
import { startAppProcess } from '../support/traffic/process.ts'
import { Quotas } from '../support/traffic/quota-traffic.ts'
import { Sessions } from '../support/traffic/sessions.ts'
import { startSource } from '../support/traffic/source.ts'
import { Traffic } from '../support/traffic/traffic.ts'

t.setTimeout(600_000)

const wellRounds = 2
const kinds = {
  'on a single server': plain,
  'over TLS, with all connections cut': overTls,
  'behind Sentinels, with a failover': behindSentinels,
  'in a Cluster, with moving slots and a failover': inCluster
}

t.test('on every kind of Redis, two processes preserve all confirmed writes through a fault, and recover', { timeout: 600_000 }, async (t) => {
  const source = await startSource(t)
  const processes = await Promise.all([startAppProcess(t), startAppProcess(t)])
  const deployments = await Promise.all(Object.entries(kinds).map(async ([title, start]) => ({ title, deployment: await start(t) })))

  for (const { title, deployment } of deployments) {
    await t.test(title, { timeout: 200_000 }, async (t) => {
      const urls = await Promise.all(processes.map((each) => each.open(deployment.redis, source.url)))
      const traffic = new Traffic(urls, [new Sessions(), new Purges(source), new Stampedes(source), new Quotas(), new News()])

      traffic.start()
      try {
        await traffic.well(wellRounds)
        await traffic.endure(deployment.fault)
        await traffic.well(wellRounds)
      } finally {
        await traffic.stop()
      }
      await Promise.all(processes.map((each) => each.close()))

      t.same(traffic.faults, [])
      t.ok(processes.every(({ isRunning }) => isRunning), 'no unhandled rejection')
      t.comment(`before, during and after it: ${traffic.report}`)
    })
  }
})
