import { createRequire } from 'node:module'

// prom-client's observers of Node cannot be stopped, and cost a little with each garbage collection. A bench with turns suspends them.
const observed: { rest (): void, goOn (): void }[] = []
const hooks = createRequire(import.meta.url)('node:perf_hooks') as typeof import('node:perf_hooks')
const { monitorEventLoopDelay, PerformanceObserver } = hooks

hooks.PerformanceObserver = class extends PerformanceObserver {
  override observe (options: Parameters<InstanceType<typeof PerformanceObserver>['observe']>[0]): void {
    super.observe(options)
    observed.push({ rest: () => this.disconnect(), goOn: () => super.observe(options) })
  }
}

hooks.monitorEventLoopDelay = (options) => {
  const histogram = monitorEventLoopDelay(options)
  observed.push({ rest: () => histogram.disable(), goOn: () => histogram.enable() })
  return histogram
}

export function rest (): void {
  for (const each of observed) each.rest()
}

export function goOn (): void {
  for (const each of observed) each.goOn()
}
