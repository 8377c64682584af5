import { CacheStore } from '../cache/storage/cache-store.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'

/** Tags of one script call. */
const tagsPerCall = 500

/** Purges cached responses by tag. */
export const purge: Command = {
  usage: 'purge <tag>…',
  summary: 'purges every cached response with one of these tags, in all processes',
  help: ['The cost depends on the number of tags, not on the number of responses. A purge may be repeated: after an error, run the command again.'],
  examples: ['purge city:2988507', 'purge cities countries'],
  run: async ({ words, pool, output, program }) => {
    if (words.length === 0) throw new UsageError(`purge needs a tag: ${program} purge city:2988507`)
    const { batch, keyspace, server } = await pool()
    const store = new CacheStore(batch, keyspace, () => server)
    for (let done = 0; done < words.length; done += tagsPerCall) {
      await store.purge(words.slice(done, done + tagsPerCall))
      output.progress(`${Math.min(done + tagsPerCall, words.length)} of ${words.length} tags purged`)
    }
    output.progress('')
    output.tell({ purged: words }, [words.length > 10 ? `Purged ${words.length} tags.` : `Purged ${words.join(', ')}.`])
    return 0
  }
}
