import { setTimeout as sleep } from 'node:timers/promises'
import type { Owner } from '../test/support/cleanup-scope.ts'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { limiters, quota, windowMs } from './limiters.ts'
import type { Check } from './limiters.ts'

const edgeMs = 200

/**
 * Sends each limiter one request at the start of a clock window, then as many as possible around the window's end, and counts the most that were allowed in any window.
 *
 * @returns a Markdown table
 */
export async function measureEdges (owner: Owner): Promise<string> {
  const { url } = await startRedisProcess(owner)
  const lines = []
  for (const [name, open] of Object.entries(limiters)) lines.push(`| ${name} | ${quota} | ${mostInAWindow(await flood(await open(owner, url)))} |`)
  return [`| limiter | quota in ${windowMs / 1000} s | passed within some ${windowMs / 1000} s |`, '|---|---:|---:|', ...lines].join('\n')
}

interface Passed { startedAt: number, endedAt: number }

/** @returns the allowed requests: each was counted between its two times */
async function flood (isPassing: Check): Promise<Passed[]> {
  const passed: Passed[] = []
  const check = async () => {
    const startedAt = performance.now()
    if (await isPassing()) passed.push({ startedAt, endedAt: performance.now() })
  }
  await isPassing() // work for a limiter's first request only, such as connecting and loading scripts, would shift the edge
  await sleep(2 * windowMs - Date.now() % windowMs + 2)
  const beginAt = performance.now()
  await check()
  await sleep(windowMs - edgeMs)
  while (performance.now() - beginAt < windowMs + edgeMs) {
    await Promise.all(Array.from({ length: 5 }, check))
    await sleep(1)
  }
  return passed
}

/** Counts only requests that certainly lie in one window. */
function mostInAWindow (passed: readonly Passed[]): number {
  return Math.max(...passed.map(({ startedAt: fromAt }) => passed.filter(({ startedAt, endedAt }) => startedAt >= fromAt && endedAt < fromAt + windowMs).length))
}
