/** Memory statistics of one server. */
export interface MemoryStats {
  /** `run_id` */
  readonly server: string
  /** as Redis counts it for `maxmemory` */
  readonly usedBytes: number
  /** 0 when no limit is set */
  readonly limitBytes: number
  /** connections of all clients */
  readonly clients: number
}

/** Memory level of Redis: `normal`; `high`: only responses requested at least twice are stored; `critical`: stored responses are evicted. */
export type Level = 'normal' | 'high' | 'critical'

/** Share of `maxmemory` above which the level is high. */
export const highShare = 0.8
/** Share above which the level is critical: entries are evicted down to it. */
export const criticalShare = 0.85
/** Share above which nothing is stored. */
export const maxShare = 0.9

/** Hysteresis: a level ends only this far below its threshold, so that it does not flap. */
const hysteresis = 0.02

/** The sections of `INFO` that {@link parseMemoryStats} reads. */
export const sections = ['server', 'clients', 'memory']

/** Parses `INFO`. Memory that Redis does not count for eviction is subtracted. */
export function parseMemoryStats (info: string): MemoryStats {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
  return {
    server: field('run_id'),
    usedBytes: Number(field('used_memory')) - Number(field('mem_not_counted_for_evict')),
    limitBytes: Number(field('maxmemory')),
    clients: Number(field('connected_clients'))
  }
}

/** Used share of `maxmemory`; 0 without a limit. */
export function shareOf ({ usedBytes, limitBytes }: MemoryStats): number {
  return limitBytes > 0 ? usedBytes / limitBytes : 0
}

/** The level for a share, given the previous level. */
export function levelAfter (before: Level, share: number): Level {
  if (share > criticalShare || (before === 'critical' && share > criticalShare - hysteresis)) return 'critical'
  return share > highShare || (before !== 'normal' && share > highShare - hysteresis) ? 'high' : 'normal'
}
