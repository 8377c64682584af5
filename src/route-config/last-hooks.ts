type Hook = (...given: never[]) => unknown

/**
 * Adds preHandler hooks to a route that run after all others of it: also after those that onRoute hooks of plugins registered later add. Fastify reads the
 * option when all plugins are loaded.
 */
export function addLastPreHandlers<Each extends Hook> (route: { preHandler?: Each | Each[] | undefined }, last: readonly Each[]): void {
  let hooks = [route.preHandler ?? []].flat() as Each[]
  Object.defineProperty(route, 'preHandler', {
    enumerable: true,
    configurable: true,
    get: () => {
      // In place: a plugin may push to what it has read.
      hooks.splice(0, hooks.length, ...hooks.filter((hook) => !last.includes(hook)), ...last)
      return hooks
    },
    set: (given: Each | Each[] | undefined) => { hooks = [given ?? []].flat() as Each[] }
  })
}
