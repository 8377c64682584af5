import type { Owner } from '../../test/support/cleanup-scope.ts'
import { MeasuredRedis } from '../interleaved/redis-figures.ts'
import { Worker } from './contestant.ts'
import type { PeerPromises } from './table.ts'

const trials = 20_000
const trialsAtOnce = 200
const callers = 25
const stampedes = 10

/**
 * What two processes of a peer promise each other. A trial: one process calls a key while the other changes its row and invalidates the key; when that
 * is acknowledged, the first process calls again, and must not get the row of before the change.
 */
export async function measurePromises (owner: Owner, peer: string, file: URL, note: (text: string) => void): Promise<PeerPromises> {
  const redis = await MeasuredRedis.start(owner)
  const [one, other] = [await Worker.start(file, redis), await Worker.start(file, redis)]
  owner.after(() => { one.stop(); other.stop() })
  let oldValues = 0
  for (let trial = 0; trial < trials; trial += trialsAtOnce) {
    note(`${trial} of ${trials} invalidations, ${oldValues} old values`)
    const keys = { name: `race-${trial}`, count: trialsAtOnce }
    await Promise.all([one.tell({ do: 'fill', ...keys }), other.tell({ do: 'change', ...keys })])
    oldValues += await one.tell<number>({ do: 'check', ...keys })
  }
  let runs = 0
  for (let stampede = 0; stampede < stampedes; stampede++) {
    const both = await Promise.all([one, other].map((worker) => worker.tell<number>({ do: 'join', name: `join-${stampede}`, count: callers })))
    runs += both.reduce((sum, each) => sum + each, 0)
  }
  return { peer, oldValues, trials, runsPerStampede: runs / stampedes }
}
