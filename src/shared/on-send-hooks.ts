/**
 * The onSend hooks of a Fastify scope, in the order in which they run. Fastify has no public list of them.
 *
 * @returns undefined if the list is not where it is expected
 */
export function onSendHooksOf (scope: object): readonly unknown[] | undefined {
  return hooksOf(scope)?.onSend
}

/** Adds an onRequest hook in front of those that a Fastify scope has; nothing where there are none, or the list is not where it is expected. */
export function prependOnRequest (scope: object, hook: unknown): void {
  const hooks = hooksOf(scope)?.onRequest
  if (hooks !== undefined && hooks.length > 0) hooks.unshift(hook)
}

interface Hooks { readonly onRequest?: unknown[], readonly onSend?: readonly unknown[] }

function hooksOf (scope: object): Hooks | undefined {
  for (let each: object | null = scope; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const symbol = Object.getOwnPropertySymbols(each).find(({ description }) => description === 'fastify.hooks')
    if (symbol !== undefined) return (each as Record<symbol, Hooks>)[symbol]
  }
  return undefined
}
