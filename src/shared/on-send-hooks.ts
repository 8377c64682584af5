/**
 * The onSend hooks of a Fastify scope, in the order in which they run. Fastify has no public list of them.
 *
 * @returns undefined if the list is not where it is expected
 */
export function onSendHooksOf (scope: object): readonly unknown[] | undefined {
  for (let each: object | null = scope; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const symbol = Object.getOwnPropertySymbols(each).find(({ description }) => description === 'fastify.hooks')
    if (symbol !== undefined) return (each as Record<symbol, { onSend?: readonly unknown[] }>)[symbol]?.onSend
  }
  return undefined
}
