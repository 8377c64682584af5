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
const titles = {
  'on a single server': plain,
  'over TLS, though every connection is cut': overTls,
  'behind Sentinels, though they hand over': behindSentinels,
  'in a Cluster, though slots move and a master hands over': inCluster
}

t.test('on every kind of Redis, two processes keep what they have confirmed, whatever happens under way, and are whole again', { timeout: 600_000 }, async (t) => {
  const source = await startSource(t)
  const processes = await Promise.all([startAppProcess(t), startAppProcess(t)])
  const places = await Promise.all(Object.entries(titles).map(async ([title, start]) => ({ title, place: await start(t) })))

  for (const { title, place } of places) {
    await t.test(title, { timeout: 200_000 }, async (t) => {
      const urls = await Promise.all(processes.map((each) => each.open(place.redis, source.url)))
      const traffic = new Traffic(urls, [new Sessions(), new Purges(source), new Stampedes(source), new Quotas(), new News()])

      traffic.start()
      try {
        await traffic.well(wellRounds)
        await traffic.endure(place.fault)
        await traffic.well(wellRounds)
      } finally {
        await traffic.stop()
      }
      await Promise.all(processes.map((each) => each.close()))

      t.same(traffic.faults, [])
      t.ok(processes.every(({ isRunning }) => isRunning), 'no rejection was left to nobody')
      t.comment(`before, during and after it: ${traffic.report}`)
    })
  }
})
