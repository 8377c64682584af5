/** A Fastify request. */
interface RoutedRequest { readonly routeOptions: { readonly config?: unknown } }

type WithContext = Record<symbol, { readonly config?: unknown } | undefined>

let contextKey: symbol | undefined

/**
 * The `config` of a request's route.
 *
 * `request.routeOptions` creates an object of twelve properties at each read. Its `config` is that of the route's context, which is read itself where
 * Fastify keeps it on the request.
 */
export function routeConfigOf (request: RoutedRequest): unknown {
  contextKey ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'fastify.context')
  const context = contextKey === undefined ? undefined : (request as unknown as WithContext)[contextKey]
  return context === undefined ? request.routeOptions.config : context.config
}
