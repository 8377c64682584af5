/** A Fastify scope and the options of a route declared in it. */
interface Declared {
  readonly scope: object | undefined
  readonly route: { readonly onSend?: unknown }
  /** the onSend hook of the stack */
  readonly stackHook: unknown
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
export function laterHooksOf ({ scope, route, stackHook, finalHook }: Declared): LaterHooks {
  const ofScope = scope === undefined ? undefined : onSendHooksOf(scope)
  const at = ofScope?.indexOf(stackHook) ?? -1
  const ofRoute: unknown[] = [route.onSend ?? []].flat()
  if (ofScope === undefined || at < 0) return all
  const isForeign = (hook: unknown) => typeof hook === 'function' && hook.name !== nameOfHeadHook && !finalHooks.has(hook)
  const finalAt = ofRoute.lastIndexOf(finalHook)
  return { areThere: ofScope.length - 1 > at || ofRoute.some(isForeign), areUnseen: ofRoute.slice(finalAt + 1).some(isForeign) }
}

/** The final hooks of all routes: a route for HEAD inherits the one of its GET route. */
export const finalHooks = new WeakSet<object>()

function onSendHooksOf (scope: object): readonly unknown[] | undefined {
  for (let each: object | null = scope; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const symbol = Object.getOwnPropertySymbols(each).find(({ description }) => description === 'fastify.hooks')
    if (symbol !== undefined) return (each as Record<symbol, { onSend?: readonly unknown[] }>)[symbol]?.onSend
  }
  return undefined
}
