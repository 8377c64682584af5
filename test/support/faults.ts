import { networkFaults, type NetworkFaultName } from './network-faults.ts'
import { processFaults, type Fault } from './process-faults.ts'
import type { Proxy } from './proxy.ts'

export { takeSnapshot, type Fault } from './process-faults.ts'
export { startRig, type Rig } from './proxied-redis.ts'

/** Options of a network fault in the table whose defaults would be no fault. */
const severe = {
  latency: (proxy: Proxy) => proxy.fault('latency', { delayMs: 300, jitterMs: 100 }),
  throttle: (proxy: Proxy) => proxy.fault('throttle', { bytesPerSecond: 100 })
}

/** Faults that last until they are healed; `replyLostThenReset` ends after one reply. */
type LastingFaultName = Exclude<NetworkFaultName, 'replyLostThenReset'>

/** Every lasting fault of network and server by name: `for (const [name, fault] of Object.entries(faults))`. */
export const faults: Readonly<Record<LastingFaultName | keyof typeof processFaults, Fault>> = {
  blackHole: onTheWay('blackHole'),
  partition: onTheWay('partition'),
  halfOpen: onTheWay('halfOpen'),
  reset: onTheWay('reset'),
  latency: onTheWay('latency', severe.latency),
  throttle: onTheWay('throttle', severe.throttle),
  garbage: onTheWay('garbage'),
  garbageThenSilence: onTheWay('garbageThenSilence'),
  halfReply: onTheWay('halfReply'),
  halfReplyThenClose: onTheWay('halfReplyThenClose'),
  replyLost: onTheWay('replyLost'),
  stalledHandshake: onTheWay('stalledHandshake'),
  down: onTheWay('down'),
  ...processFaults
}

function onTheWay (name: LastingFaultName, inject = (proxy: Proxy) => proxy.fault(name)): Fault {
  return {
    does: networkFaults[name]().does,
    inject: async ({ proxy }) => await inject(proxy),
    heal: async ({ proxy }) => await proxy.heal()
  }
}
