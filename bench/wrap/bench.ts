import { machine, Progress, versionOf, writeResult } from '../interleaved/report.ts'
import { MeasuredRedis } from '../interleaved/redis-figures.ts'
import { runRounds, warmUp } from '../interleaved/slots.ts'
import { median, quartilesOf } from '../interleaved/statistics.ts'
import type { BenchOptions } from '../options.ts'
import { withOwner } from '../owner.ts'
import { pinBench } from '../server.ts'
import { CallingWorker, Worker } from './contestant.ts'
import { measurePromises } from './promises.ts'
import { costTable, promiseTable } from './table.ts'
import type { PeerCost, PeerPromises } from './table.ts'

/** The calls to every peer. */
interface Calls { readonly name: string, readonly callers: number, readonly keys: number, readonly isTagged: boolean }

const calls: readonly Calls[] = [
  { name: 'one hot key, 50 callers', callers: 50, keys: 1, isTagged: false },
  { name: '1,000 keys, 50 callers', callers: 50, keys: 1000, isTagged: false },
  { name: '1,000 keys with a tag, 50 callers', callers: 50, keys: 1000, isTagged: true },
  { name: '1,000 keys, one caller', callers: 1, keys: 1000, isTagged: false }
]
const fileOf = (name: string) => new URL(name === 'prism' ? './prism.ts' : `./peers/${name}.ts`, import.meta.url)
const peers = ['prism', 'ioredis', 'cache-manager', 'cacheable', 'bentocache', 'async-cache-dedupe', 'ocache']
/** Peers whose tagged calls are the plain ones. */
const untagged = new Set(['ioredis', 'cache-manager', 'cacheable', 'ocache'])

/** `npm run bench wrap`: `cache.wrap` beside other caches of function results; costs interleaved, then what each promises. */
export async function benchWrap (options: BenchOptions): Promise<void> {
  pinBench()
  const chosen = options.servers ?? peers
  const progress = new Progress()
  const costs: PeerCost[] = []
  for (let run = 0; run < options.runs; run++) {
    for (const each of calls) {
      progress.show(`run ${run + 1} of ${options.runs}, ${each.name}`)
      costs.push(...await measureCalls(each, chosen, options))
      progress.keep(`run ${run + 1} of ${options.runs}, ${each.name}: ${costs.filter((cost) => cost.calls === each.name).slice(-chosen.length).map(({ peer, cpu }) => `${peer} ${cpu.median.toFixed(1)}`).join('; ')}`)
    }
  }
  const promises: PeerPromises[] = []
  for (const peer of chosen) {
    promises.push(await withOwner((owner) => measurePromises(owner, peer, fileOf(peer), (text) => progress.show(`${peer}: ${text}`))))
    progress.keep(`${peer}: ${promises.at(-1)?.oldValues} old values`)
  }
  progress.end()
  console.log([costTable(calls.map(({ name }) => name), costs), promiseTable(promises)].join('\n\n'))
  console.log(`\n${[...chosen.filter((peer) => peer !== 'prism').map((peer) => `${peer} ${versionOf(peer)}`)].join(', ')}\n${await machine()}`)
  await writeResult(options, { costs, promises })
}

async function measureCalls ({ name, callers, keys, isTagged }: Calls, chosen: readonly string[], options: BenchOptions): Promise<PeerCost[]> {
  return await withOwner(async (owner) => {
    const contestants: CallingWorker[] = []
    for (const peer of chosen.filter((each) => !isTagged || !untagged.has(each) || each === 'ioredis')) {
      const redis = await MeasuredRedis.start(owner)
      const worker = await Worker.start(fileOf(peer), redis, options.nodeFlags)
      owner.after(() => worker.stop())
      contestants.push(new CallingWorker(peer, worker, redis, { callers, keys, isTagged }))
    }
    await warmUp(contestants, { slotMs: options.slotMs, longest: options.longestWarmUp })
    for (const { p50Ms } of contestants) p50Ms.length = 0
    const slots = await runRounds(contestants, options.slots, options.slotMs)
    return contestants.map(({ name: peer, p50Ms }): PeerCost => {
      const own = slots.get(peer) ?? []
      return { calls: name, peer, cpu: quartilesOf(own.map((slot) => slot.cpuMicroseconds / slot.operations)), redis: quartilesOf(own.map((slot) => slot.redisMicroseconds / slot.operations)), p50Ms: callers === 1 ? median(p50Ms) : undefined }
    })
  })
}
