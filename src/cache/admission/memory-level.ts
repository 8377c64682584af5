import { memoryThresholds } from '../../redis/health/memory-info.ts'

/** Memory level of Redis: `normal`; `high`: only responses requested at least twice are stored; `critical`: stored responses are evicted. */
export type Level = 'normal' | 'high' | 'critical'

/** Hysteresis: a level ends only this far below its threshold, so that it does not flap. */
const hysteresis = 0.02

/** The level for a used share of `maxmemory`, given the previous level. */
export function levelAfter (before: Level, share: number): Level {
  const { critical, high } = memoryThresholds
  if (share > critical || (before === 'critical' && share > critical - hysteresis)) return 'critical'
  return share > high || (before !== 'normal' && share > high - hysteresis) ? 'high' : 'normal'
}
