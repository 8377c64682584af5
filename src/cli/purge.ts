import { CacheStore } from '../cache/storage/cache-store.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'

/** Purges cached responses by tag. */
export const purge: Command = {
  usage: 'purge <tag>…',
  summary: 'removes every cached response that has one of these tags, in all processes',
  help: ['It costs the same for one answer as for a million, and may safely be done twice.'],
  run: async ({ words, pool, output }) => {
    if (words.length === 0) throw new UsageError('purge needs a tag: fastify-prism purge city:2988507')
    const { batch, keyspace, server } = await pool()
    await new CacheStore(batch, keyspace, () => server).purge(words)
    output.tell({ purged: words }, [`Purged ${words.join(', ')}.`])
    return 0
  }
}
