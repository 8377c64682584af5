import { setTimeout as sleep } from 'node:timers/promises'
import type { Owner } from '../test/support/cleanup-scope.ts'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { limiters, quota, windowMs } from './limiters.ts'
import type { Ask } from './limiters.ts'

const edgeMs = 200

/**
 * Asks each limiter once when a window of the clock begins, then as often as it can around that window's end, and counts the most that passed in any window.
 *
 * @returns a table to paste
 */
export async function measureEdges (owner: Owner): Promise<string> {
  const { url } = await startRedisProcess(owner)
  const lines = []
  for (const [name, open] of Object.entries(limiters)) lines.push(`| ${name} | ${quota} | ${mostInAWindow(await flood(await open(owner, url)))} |`)
  return [`| limiter | quota in ${windowMs / 1000} s | passed within some ${windowMs / 1000} s |`, '|---|---:|---:|', ...lines].join('\n')
}

interface Passed { askedAt: number, answeredAt: number }

/** @returns what passed: it was counted at some moment between the two */
async function flood (isPassing: Ask): Promise<Passed[]> {
  const passed: Passed[] = []
  const ask = async () => {
    const askedAt = performance.now()
    if (await isPassing()) passed.push({ askedAt, answeredAt: performance.now() })
  }
  await isPassing() // what a limiter does for its first request only, connecting and loading scripts, would move the edge
  await sleep(2 * windowMs - Date.now() % windowMs + 2)
  const beginAt = performance.now()
  await ask()
  await sleep(windowMs - edgeMs)
  while (performance.now() - beginAt < windowMs + edgeMs) {
    await Promise.all(Array.from({ length: 5 }, ask))
    await sleep(1)
  }
  return passed
}

/** Only what surely lies within a window, whenever it was counted. */
function mostInAWindow (passed: readonly Passed[]): number {
  return Math.max(...passed.map(({ askedAt: fromAt }) => passed.filter(({ askedAt, answeredAt }) => askedAt >= fromAt && answeredAt < fromAt + windowMs).length))
}
