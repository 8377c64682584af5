import { subscribe } from 'node:diagnostics_channel'

/** A route's options, as an `onRoute` hook is given them: later hooks change the same object. */
export interface DeclaredOptions {
  readonly method: string | readonly string[]
  readonly url: string
  readonly config?: unknown
}

/** One route that was declared. */
export interface DeclaredRoute {
  readonly scope: Scope
  readonly options: DeclaredOptions
  /** the keys of its config that were resolved for it, and the value that was read */
  readonly read: Map<string, unknown>
  /** whether its config still contains the resolved values; undefined if none were resolved */
  isResolved?: () => boolean
}

/** Where some features take part in every request: there and in the scopes inside it. */
export interface Extent {
  readonly scope: Scope
  readonly features: ReadonlySet<string>
}

/** A Fastify instance or a scope of one, as far as it is used here. */
export interface Scope {
  addHook (name: 'onRoute', hook: (this: Scope, options: DeclaredOptions) => void): unknown
  hasDecorator (name: string): boolean
}

/** All routes of one Fastify instance, in the order of their declaration. */
export interface DeclaredRoutes {
  /** whether it has seen every route of the instance; else routes may have been declared before */
  readonly isComplete: boolean
  readonly routes: DeclaredRoute[]
  readonly extents: Extent[]
  isChecked: boolean
}

const known = new WeakMap<Scope, DeclaredRoutes>()

// Routes that are declared before this package is registered, or in the same tick, are seen by a hook that is there from the beginning alone.
subscribe('fastify.initialization', (message) => { record((message as { fastify: Scope }).fastify, true) })

/** The routes of the instance that a scope belongs to; of an instance made before this module was loaded, those from now on. */
export function declaredRoutes (scope: Scope): DeclaredRoutes {
  for (let each: Scope | null = scope; each !== null; each = Object.getPrototypeOf(each) as Scope | null) {
    const found = known.get(each)
    if (found !== undefined) return found
  }
  return record(scope, false)
}

/** The route that is being declared. */
export function routeOf ({ routes }: DeclaredRoutes, options: DeclaredOptions): DeclaredRoute | undefined {
  return routes.findLast((route) => route.options === options)
}

/** Whether a feature takes part in the requests of a scope. */
export function isInEffect ({ extents }: { readonly extents: readonly Extent[] }, feature: string, scope: Scope): boolean {
  return extents.some((extent) => extent.features.has(feature) && (extent.scope === scope || Object.prototype.isPrototypeOf.call(extent.scope, scope)))
}

/** Whether a route takes OPTIONS alone, as that of @fastify/cors does. */
export function isPreflightOnly ({ method }: Pick<DeclaredOptions, 'method'>): boolean {
  return [method].flat().every((each) => each === 'OPTIONS')
}

function record (scope: Scope, isComplete: boolean): DeclaredRoutes {
  const declared: DeclaredRoutes = { isComplete, routes: [], extents: [], isChecked: false }
  known.set(scope, declared)
  scope.addHook('onRoute', function note (options) { declared.routes.push({ scope: this, options, read: new Map() }) })
  return declared
}
