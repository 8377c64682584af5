import { median } from '../interleaved/statistics.ts'
import type { Quartiles } from '../interleaved/statistics.ts'

/** The cost of one peer's calls in one run, in microseconds a call. */
export interface PeerCost { readonly calls: string, readonly peer: string, readonly cpu: Quartiles, readonly redis: Quartiles, readonly p50Ms: number | undefined }

/** What a peer promises to other processes. */
export interface PeerPromises { readonly peer: string, readonly oldValues: number, readonly trials: number, readonly runsPerStampede: number }

/** Medians of the runs; "ours ÷" is taken within each run. */
export function costTable (calls: readonly string[], costs: readonly PeerCost[]): string {
  const lines = calls.flatMap((name) => {
    const own = costs.filter((cost) => cost.calls === name)
    return [...new Set(own.map(({ peer }) => peer))].map((peer) => costLine(name, peer, own))
  })
  return ['| calls | peer | CPU µs (quartiles) | ours ÷ it | Redis µs | p50 ms | ours ÷ it |\n|---|---|---:|---:|---:|---:|---:|', ...lines].join('\n')
}

function costLine (name: string, peer: string, costs: readonly PeerCost[]): string {
  const own = costs.filter((cost) => cost.peer === peer)
  const ours = costs.filter((cost) => cost.peer === 'prism')
  const over = (figure: (cost: PeerCost) => number) => median(own.map(figure))
  const ratio = (figure: (cost: PeerCost) => number) => {
    const value = median(own.map((cost, run) => figure(ours[run] ?? cost) / figure(cost)))
    return Number.isFinite(value) && ours.length > 0 ? value.toFixed(2) : ''
  }
  const p50Ms = over((cost) => cost.p50Ms ?? NaN)
  const cpu = `${over((cost) => cost.cpu.median).toFixed(1)} (${over((cost) => cost.cpu.low).toFixed(1)} to ${over((cost) => cost.cpu.high).toFixed(1)})`
  return `| ${[name, peer, cpu, ratio((cost) => cost.cpu.median), over((cost) => cost.redis.median).toFixed(1), Number.isFinite(p50Ms) ? p50Ms.toFixed(3) : '', ratio((cost) => cost.p50Ms ?? NaN)].join(' | ')} |`
}

export function promiseTable (promises: readonly PeerPromises[]): string {
  const lines = promises.map(({ peer, oldValues, trials, runsPerStampede }) => `| ${peer} | ${oldValues} of ${trials} | ${runsPerStampede.toFixed(1)} |`)
  return ['| peer | old values after an acknowledged invalidation | runs for 50 callers in two processes |\n|---|---:|---:|', ...lines].join('\n')
}
