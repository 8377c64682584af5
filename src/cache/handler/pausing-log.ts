import type { ReadListener } from './read-listener.ts'

type Log = Record<PropertyKey, unknown>

/** While a request is tracked, `request.log` and `reply.log` do not report what their serializers read: it goes into the log, not into the response. */
export function pauseInLogs (owners: readonly object[], tracker: ReadListener): () => void {
  const undo = owners.map((owner) => pauseInLog(owner as { log: Log }, tracker))
  return () => { for (const restore of undo) restore() }
}

function pauseInLog (owner: { log: Log }, tracker: ReadListener): () => void {
  const { log } = owner
  const pausing = owner.log = pausingLog(log, tracker)
  return () => { if (owner.log === pausing) owner.log = log }
}

function pausingLog (log: Log, tracker: ReadListener): Log {
  return new Proxy(log, {
    get: (target, key) => {
      const value = Reflect.get(target, key) as unknown
      // Internal state of pino, and properties that a proxy must show as they are.
      if (typeof key === 'symbol' || typeof value !== 'function' || Object.getOwnPropertyDescriptor(target, key)?.configurable === false) return value
      return (...given: unknown[]) => tracker.withoutTracking(() => {
        const result = Reflect.apply(value, target, given) as unknown
        return key === 'child' ? pausingLog(result as Log, tracker) : result
      })
    }
  })
}
