import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import { cachingApp, stored } from './caching.ts'
import type { Owner } from './cleanup-scope.ts'

/** Results of one process in a race of reads, writes and purges. */
export interface PurgeRace {
  reads: number
  hits: number
  purges: number
  /** responses older than a purge that was acknowledged to any process */
  stale: number
}

/** Runs the race in its own process, against all others on the same Redis, which also stores the current values. Killed with its owner. */
export async function racePurges (owner: Owner, url: string, rounds: number): Promise<PurgeRace> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', import.meta.filename, url, String(rounds)], { stdio: ['ignore', 'pipe', 'inherit'] })
  owner.after(() => { child.kill('SIGKILL') })
  return JSON.parse(await text(child.stdout)) as PurgeRace
}

/** Waits for up to this many turns of the event loop, or a few milliseconds. */
async function aWhile (): Promise<void> {
  if (Math.random() < 0.3) await new Promise((resolve) => setTimeout(resolve, Math.random() * 4))
  for (let count = Math.floor(Math.random() * 4); count > 0; count--) await turn()
}

async function race (url: string, rounds: number): Promise<PurgeRace> {
  const ends: (() => Promise<void> | void)[] = []
  const app = await cachingApp({ after: (end) => { ends.push(end) } }, { url })
  const seen = { reads: 0, purges: 0, stale: 0 }
  app.get<{ Params: { id: string } }>('/:id', { config: { cache: { tags: ['all'] } } }, async ({ params: { id } }, reply) => {
    const value = Number(await app.redis.get(`test:value:${id}`))
    await aWhile()
    reply.tag(`item:${id}`)
    await aWhile()
    return { value }
  })
  const read = async (id: string) => {
    const atLeast = Number(await app.redis.get(`test:purged:${id}`))
    const { value } = (await app.inject(`/${id}`)).json<{ value: number }>()
    seen.reads += 1
    if (value < atLeast) seen.stale += 1
  }
  const write = async (id: string) => {
    const value = await app.redis.incr(`test:value:${id}`)
    await aWhile()
    await app.cache.purge(Math.random() < 0.8 ? `item:${id}` : 'all')
    seen.purges += 1
    await app.redis.eval("if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end", 1, `test:purged:${id}`, value)
  }
  for (let round = 0; round < rounds; round++) {
    const id = String(round % 3)
    await Promise.all(Array.from({ length: 2 + Math.floor(Math.random() * 5) }, async () => {
      await aWhile()
      await (Math.random() < 0.7 ? read(id) : write(id))
    }))
    await read(id)
  }
  await stored(app)
  const { hit, collapse } = app.cache.counts
  for (const end of ends) await end()
  return { ...seen, hits: hit + collapse }
}

if (import.meta.main) {
  const [, , url = '', rounds = '0'] = process.argv
  console.log(JSON.stringify(await race(url, Number(rounds))))
  process.exit()
}
