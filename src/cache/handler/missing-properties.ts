import { isReadByAgent, isReadByServer } from './reader.ts'
import { report } from './read-listener.ts'
import type { Kind, ReadListener, Target } from './read-listener.ts'

/** Properties that the language looks for on any object. */
const ofLanguage = new Set<PropertyKey>(['then', 'toJSON', ...Object.values(Object.getOwnPropertyDescriptors(Symbol)).map(({ value }) => value as unknown).filter((value) => typeof value === 'symbol')])

/** Symbols under which a plugin remembers what it made of the request: it reads tracked inputs to make it. `acceptsObject`: @fastify/accepts. */
const memos = new Set(['acceptsObject'])

/** Reports a read of what an object does not have: a hook that sets nothing for this client may set it for another. */
export function noteMissing (tracker: ReadListener, kind: Kind, key: PropertyKey, target: Target): void {
  if (tracker.isPaused || ofLanguage.has(key) || (typeof key === 'symbol' && memos.has(key.description ?? ''))) return
  // The test may read the object itself.
  if (tracker.withoutTracking(() => kind.isFree(key, target))) return
  if (isReadByServer() || isReadByAgent()) return
  report(kind, tracker, key)
}
