/**
 * `npm run bench:flood`: 14,000 idle sessions, popular URLs that change, and a flood of URLs that are requested once share 48 MB of `allkeys-lru`;
 * once with the cache's memory limit, once without. Prints the losses and the hit rate of popular URLs.
 */
import { loadavg } from 'node:os'
import { Flood } from '../test/support/flood.ts'

const options = { megabytes: 48, sessions: 14_000, requests: 60_000, popular: 6000, bodyBytes: 4096 }

for (const isPlain of [false, true]) {
  const ends: (() => Promise<void> | void)[] = []
  const flood = await Flood.start({ after: (end) => { ends.unshift(end) } }, { ...options, isPlain })
  const result = await flood.run()
  console.log(isPlain ? 'allkeys-lru alone' : 'with the rule    ', JSON.stringify({ ...result, load: loadavg()[0] }))
  for (const end of ends) await end()
}
process.exit()
