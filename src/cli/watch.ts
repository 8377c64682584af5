import { setTimeout as pause } from 'node:timers/promises'
import { parseInfo } from '../redis/health/server-info.ts'
import type { InfoFields } from '../redis/health/server-info.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'
import { bytesText } from './output.ts'

/** Shows Redis's figures as they change, a line a second. */
export const watch: Command = {
  usage: 'watch [--count <n>]',
  summary: 'shows memory, commands, hits, evictions and connections, a line a second',
  help: ['In a Cluster the sum of its masters. Ends with Ctrl-C, or after --count lines.'],
  examples: ['watch', 'watch --count 60 --json'],
  flags: { count: { type: 'string', help: 'number of lines' } },
  run: async ({ flags, masters, output }) => {
    const most = flags.count === undefined ? Infinity : Number(flags.count)
    if (!(most > 0)) throw new UsageError('--count needs a number of lines: --count 60')
    const servers = await masters()
    const look = async () => await Promise.all(servers.map(async (server) => parseInfo(await server.info())))
    let before = await look()
    for (let line = 0; line < most; line++) {
      await pause(1000)
      const now = await look()
      const facts = compare(before, now)
      output.tell(facts, [write(facts)])
      before = now
    }
    return 0
  }
}

type Facts = ReturnType<typeof compare>

/** Of a Cluster the sum of its masters. */
function compare (before: readonly InfoFields[], now: readonly InfoFields[]) {
  const value = (infos: readonly InfoFields[], field: string) => infos.reduce((sum, info) => sum + Number(info.get(field) ?? 0), 0)
  const grown = (field: string) => Math.max(0, value(now, field) - value(before, field))
  const [hits, misses] = [grown('keyspace_hits'), grown('keyspace_misses')]
  return {
    at: new Date().toISOString(),
    memoryUsedBytes: value(now, 'used_memory'),
    memoryMaxBytes: value(now, 'maxmemory'),
    commandsASecond: grown('total_commands_processed'),
    hitShare: hits + misses === 0 ? null : hits / (hits + misses),
    evicted: grown('evicted_keys'),
    expired: grown('expired_keys'),
    clients: value(now, 'connected_clients'),
    rejected: grown('rejected_connections')
  }
}

function write ({ at, memoryUsedBytes, memoryMaxBytes, commandsASecond, hitShare, evicted, clients, rejected }: Facts): string {
  const memory = memoryMaxBytes === 0 ? bytesText(memoryUsedBytes) : `${bytesText(memoryUsedBytes)} (${Math.round(memoryUsedBytes / memoryMaxBytes * 100)} %)`
  const parts = [at.slice(11, 19), `memory ${memory}`, `${commandsASecond} commands/s`, `hits ${hitShare === null ? '-' : `${Math.round(hitShare * 100)} %`}`, `evicted ${evicted}`, `clients ${clients}`, ...rejected > 0 ? [`rejected ${rejected}`] : []]
  return parts.join('  ')
}
