import { onSendHooksOf } from '../../shared/on-send-hooks.ts'

/** A Fastify scope and the options of a route declared in it. */
interface Declared {
  readonly scope: object | undefined
  readonly route: { readonly onSend?: unknown }
  /** position of the stack's onSend hook among those of the scope; by position, because tracing agents wrap hooks */
  readonly stackAt: number
  /** the onSend hook that this cache has added to the route */
  readonly finalHook: unknown
}

/** The onSend hooks of a route that run after the cache. */
export interface LaterHooks {
  /** there are some: they must receive the payload that the handler produced, and may change it */
  readonly areThere: boolean
  /** some run after the cache's final hook: the cache does not see what they change */
  readonly areUnseen: boolean
}

const all: LaterHooks = Object.freeze({ areThere: true, areUnseen: true })

/** Added to routes for HEAD by Fastify: it only removes the body. */
const nameOfHeadHook = 'headRouteOnSendHandler'

/**
 * Finds a route's onSend hooks that run after the cache. Call it when the app is ready: until then hooks can be added.
 *
 * Fastify has no public list of hooks. If its list is not where it is expected, such hooks are assumed.
 */
export function laterHooksOf ({ scope, route, stackAt, finalHook }: Declared): LaterHooks {
  const ofScope = scope === undefined ? undefined : onSendHooksOf(scope)
  const ofRoute: unknown[] = [route.onSend ?? []].flat()
  if (ofScope === undefined || stackAt < 0) return all
  const isForeign = (hook: unknown) => typeof hook === 'function' && hook.name !== nameOfHeadHook && !finalHooks.has(hook)
  const finalAt = ofRoute.lastIndexOf(finalHook)
  return { areThere: ofScope.length - 1 > stackAt || ofRoute.some(isForeign), areUnseen: ofRoute.slice(finalAt + 1).some(isForeign) }
}

/** The final hooks of all routes: a route for HEAD inherits the one of its GET route. */
export const finalHooks = new WeakSet<object>()
