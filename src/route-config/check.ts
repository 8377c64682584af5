import { RouteConfigError } from '../shared/errors.ts'
import { isInEffect } from './declared-routes.ts'
import type { DeclaredOptions, DeclaredRoute, DeclaredRoutes, Extent, Scope } from './declared-routes.ts'
import { features, misspellingOf } from './keys.ts'
import type { Feature } from './keys.ts'

/** What may be wrong with a route's config, in words. */
interface Findings {
  readonly faults: string[]
  readonly doubts: string[]
}

type Config = Readonly<Record<string, unknown>>

const mostShown = 10

/**
 * Checks every route that was declared, once all of them are.
 *
 * @param warn told of keys that may be typing errors
 * @throws {RouteConfigError} PRISM_ERR_ROUTE_CONFIG when a route's config names a feature that is not in effect for it
 */
export function checkRouteConfigs (declared: DeclaredRoutes, warn: (facts: object, text: string) => void): void {
  if (declared.isChecked) return
  declared.isChecked = true
  const findings: Findings = { faults: [], doubts: [] }
  for (const route of declared.routes) inspect(route, declared.extents, findings)
  const [faults, doubts] = [new Set(findings.faults), new Set(findings.doubts)]
  if (doubts.size > 0) warn({ keys: [...doubts] }, 'Keys of route configs that fastify-prism does not read look like some that it reads')
  if (faults.size > 0) throw new RouteConfigError(listed([...faults]))
}

/**
 * What a config names of that which was never resolved, where a route was declared unseen.
 *
 * @param scope the route's
 * @throws {RouteConfigError} PRISM_ERR_ROUTE_CONFIG
 */
export function refuseUnresolved (config: unknown, url: string | undefined, scope: Scope): void {
  const named = features.find((feature) => isNamed(config as Config | undefined, feature) && (config as Config)[feature] !== false && !isForeign(feature, scope))
  const misspelt = Object.keys(Object(config)).find((key) => misspellingOf(key)?.isCertain)
  const key = named ?? misspelt
  if (key !== undefined) throw new RouteConfigError(`${url ?? 'a route'} has config.${key}, ${named === undefined ? `which is not read: the key is ${misspellingOf(key)?.feature}` : early}`)
}

const early = 'but was declared before fastify-prism was loaded: await its registration, and declare routes afterwards'

function inspect ({ scope, options, read, isResolved }: DeclaredRoute, extents: readonly Extent[], { faults, doubts }: Findings): void {
  const config = Object(options.config) as Config
  const name = nameOf(options)
  const before = faults.length
  for (const feature of features) {
    const fault = isNamed(config, feature) && !isForeign(feature, scope) ? faultOf(feature, config[feature], { scope, read }, extents) : undefined
    if (fault !== undefined) faults.push(`${name} has config.${feature}, ${fault}`)
    if (isBesideConfig(options, feature) && isInEffect({ extents }, feature, scope) && !isForeign(feature, scope)) faults.push(`${name} has ${feature} beside config, where it is not read: write it as config: { ${feature} }`)
  }
  // Nothing else than the config leads from a request to what was resolved, of scopes around the route too.
  if (isResolved?.() === false && faults.length === before) faults.push(`${name} has a config that a hook replaced after fastify-prism had read it: register that hook before, or let it copy the config with its symbols, as { ...config } does`)
  for (const key of Object.keys(config)) {
    const misspelling = config[key] === undefined ? undefined : misspellingOf(key)
    if (misspelling?.isCertain === true) faults.push(`${name} has config.${key}, which is not read: the key is ${misspelling.feature}`)
    else if (misspelling !== undefined) doubts.push(`${name}: config.${key} (${misspelling.feature}?)`)
  }
}

function faultOf (feature: Feature, value: unknown, { scope, read }: Pick<DeclaredRoute, 'scope' | 'read'>, extents: readonly Extent[]): string | undefined {
  if (read.has(feature)) return read.get(feature) === value ? undefined : 'but a hook changed it after fastify-prism had read it: register that hook before'
  if (isInEffect({ extents }, feature, scope)) return early
  return value === false ? undefined : `but no part of fastify-prism that reads it is registered in the route's scope: register it there with ${feature}, or take the key away`
}

function isNamed (config: Config | undefined, feature: Feature): boolean {
  return config?.[feature] !== undefined
}

function isBesideConfig (options: DeclaredOptions, feature: Feature): boolean {
  return (options as DeclaredOptions & { readonly [feature in Feature]?: unknown })[feature] !== undefined
}

/** `@fastify/rate-limit` reads the same key. */
function isForeign (feature: Feature, scope: Scope): boolean {
  return feature === 'rateLimit' && scope.hasDecorator('createRateLimit')
}

function nameOf ({ method, url }: DeclaredOptions): string {
  // HEAD routes that Fastify adds are named as the route that they come from.
  return `${[method].flat().map((each) => each === 'HEAD' ? 'GET' : each).join(',')} ${url}`
}

function listed (faults: readonly string[]): string {
  const more = faults.length - mostShown
  return faults.slice(0, mostShown).join('; ') + (more > 0 ? `; and ${more} more` : '')
}
