import type { Owner } from '../cleanup-scope.ts'
import { startRedis } from '../redis.ts'
import { floodPipelined, floodUnread, floodUpgrades } from './floods.ts'
import { fuzz } from './fuzz.ts'
import { sendHostileHeaders } from './hostile-headers.ts'
import { floodReplays } from './replay.ts'
import { Target } from './target.ts'

/** Amount and seed; a seed repeats the same requests. */
export interface AttackOptions {
  requests: number
  seed: number
  note: (text: string) => void
}

/**
 * Attacks the service in every known way, one after the other: each on a running service, restarted if the previous attack ended it.
 *
 * @returns whether all attacks were withstood
 */
export async function attack (owner: Owner, { requests, seed, note }: AttackOptions): Promise<boolean> {
  const { url } = await startRedis(owner)
  const target = new Target(owner, url, note)
  const attacks: Readonly<Record<string, () => Promise<void>>> = {
    [`fuzz of ${requests} requests, seed ${seed}`]: async () => {
      await fuzz(target, { requests, seed })
      await target.settle('fuzz')
    },
    'hostile headers': async () => {
      await sendHostileHeaders(target)
      await target.settle('headers')
    },
    'pipelined requests, their responses unread': () => floodPipelined(target),
    'unread responses': () => floodUnread(target),
    'WebSocket replays': () => floodReplays(owner, target, url),
    'refused WebSocket upgrades': () => floodUpgrades(target)
  }
  for (const [name, run] of Object.entries(attacks)) {
    await target.ensure()
    target.mark()
    note(`${name} …`)
    // A failure of one attack does not hide the others.
    await run().catch((error: unknown) => { target.fault(`${name}: ${String(error)}`) })
  }
  return report(target, await target.stop())
}

function report ({ crashes, statuses, faults, faultsByAttack, descriptorsBefore, note }: Target, descriptorsAfter: number): boolean {
  const failures = [...statuses].filter(([status]) => status >= 500 && status !== 503).reduce((sum, [, count]) => sum + count, 0)
  note(`responses by status (0: closed without one, -1: none in time): ${[...statuses].sort(([one], [other]) => one - other).map(([status, count]) => `${status} × ${count}`).join(', ')}`)
  if (faults.length > 0) note(`faults: ${faultsByAttack}`)
  note(`${crashes} crashes, ${failures} 5xx other than 503, ${faults.length} faults; open descriptors ${descriptorsBefore} before, ${descriptorsAfter} after`)
  return crashes === 0 && failures === 0 && faults.length === 0
}
