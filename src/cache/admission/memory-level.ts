/** What one server said of its memory. */
export interface Figures {
  /** which server: its `run_id` */
  readonly server: string
  /** as its limit counts it */
  readonly usedBytes: number
  /** 0 when no limit is set */
  readonly limitBytes: number
  /** connections of everybody */
  readonly clients: number
}

/** How full Redis is: `calm`; `tight`, for what is asked for once there is no room any more; `full`, something must go. */
export type Level = 'normal' | 'high' | 'critical'

/** Above it, only what is asked for twice is stored. */
export const tightShare = 0.8
/** Above it, stored answers go, until it is reached again. */
export const fullShare = 0.85
/** Above it, nothing is stored. */
export const closedShare = 0.9

/** A level is left only so far below its mark, or it would be told all the time. */
const slack = 0.02

/** The sections of `INFO` that {@link readFigures} reads. */
export const sections = ['server', 'clients', 'memory']

/** Reads `INFO`. What does not count for eviction does not count here. */
export function readFigures (info: string): Figures {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
  return {
    server: field('run_id'),
    usedBytes: Number(field('used_memory')) - Number(field('mem_not_counted_for_evict')),
    limitBytes: Number(field('maxmemory')),
    clients: Number(field('connected_clients'))
  }
}

/** The share of its limit that a server uses; 0 without one. */
export function shareOf ({ usedBytes, limitBytes }: Figures): number {
  return limitBytes > 0 ? usedBytes / limitBytes : 0
}

/** The level that a share stands for, after another. */
export function levelAfter (before: Level, share: number): Level {
  if (share > fullShare || (before === 'critical' && share > fullShare - slack)) return 'critical'
  return share > tightShare || (before !== 'normal' && share > tightShare - slack) ? 'high' : 'normal'
}
