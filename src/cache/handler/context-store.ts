import { isInternalSymbol } from './agent-marks.ts'
import { trackObject } from './tracked-object.ts'
import type { Kind, ReadListener, Target, View } from './read-listener.ts'

const stores: Kind = {
  name: 'requestContext',
  isFree: isInternalSymbol,
  // The key is chosen by the app, and may be the name of a request's property.
  report: (tracker, _key, name) => tracker.noteProperty(name, name),
  views: new Map<PropertyKey, View>(),
  constructed: () => [],
  freeByValue: [],
  movesOthers: false,
  covers: new WeakMap(),
  replaced: new Map()
}

/**
 * Tracks the store of @fastify/request-context of the current request. `requestContext.get`, `getStore` and the package's AsyncLocalStorage all give this object.
 *
 * @returns restores the store; undefined if there is none
 */
export function trackContextStore (request: object, tracker: ReadListener): (() => void) | undefined {
  const { requestContext } = (request as { server: { requestContext?: { getStore?: () => unknown } } }).server
  const store = requestContext?.getStore?.()
  if (typeof store !== 'object' || store === null) return undefined
  return trackObject(store as Target, tracker, stores)
}
