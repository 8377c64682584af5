import { isPreflightOnly } from './declared-routes.ts'
import type { DeclaredRoute, Scope } from './declared-routes.ts'

/** Plugins whose hooks must run before the stack's, and what is lost otherwise. */
const early: Readonly<Record<string, { readonly register: string, readonly lost: string }>> = {
  '@fastify/cors': { register: 'cors', lost: 'responses that the stack rejects (401, 403, 429, 503) have no CORS headers, so pages of other origins cannot read them' },
  '@fastify/helmet': { register: 'helmet', lost: 'responses that the stack rejects (401, 403, 429, 503) have no security headers' },
  '@fastify/websocket': { register: 'websocket', lost: 'request.ws is not set yet where the stack, and what it calls, reads it' },
  '@fastify/under-pressure': { register: 'underPressure', lost: 'requests that it rejects have already been counted and have used Redis' },
  '@fastify/request-context': { register: 'requestContext', lost: 'functions that the stack calls, such as rateLimit.by and onExceeded, have no store' },
  '@fastify/otel': { register: 'otel.plugin()', lost: 'the work of the stack is missing in traces' }
}
/** Their effect is the same in a scope of their own, so only one in the stack's scope is told of. */
const scoped = new Set(['@fastify/cors', '@fastify/helmet'])

/** An instance that tells which plugins it has. */
type Registry = Scope & { hasPlugin (name: string): boolean }

/** Tells which plugins were registered after the stack although their hooks must run before the stack's. */
export class RegistrationOrder {
  readonly #scope: Registry
  readonly #before: ReadonlySet<string>

  /** Call where the stack is registered. */
  constructor (scope: Registry) {
    this.#scope = scope
    this.#before = new Set(Object.keys(early).filter((name) => scope.hasPlugin(name)))
  }

  /** Call once all plugins are registered. @param routes all that were declared */
  warn (routes: readonly DeclaredRoute[], warn: (facts: object, text: string) => void): void {
    const scopes = new Set(routes.map(({ scope }) => scope as Registry).filter((scope) => Object.prototype.isPrototypeOf.call(this.#scope, scope)))
    for (const [plugin, { register, lost }] of Object.entries(early)) {
      const isLate = !this.#before.has(plugin) && (this.#scope.hasPlugin(plugin) || (scoped.has(plugin) && [...scopes].some((scope) => scope.hasPlugin(plugin))))
      if (isLate) warn({ plugin }, `${plugin} is registered after fastify-prism: ${lost}. Move app.register(${register}, …) before app.register(prism, …)`)
    }
  }
}

/** A route that was declared before the stack. */
interface EarlyRoute {
  readonly method: string | readonly string[]
  readonly url: string
  readonly schema?: { readonly hide?: unknown } | undefined
  readonly websocket?: unknown
}

/**
 * Whether a route loses nothing where it is declared before the stack: one for preflights alone, a WebSocket, or a hidden one with safe methods, as
 * @fastify/static and @fastify/swagger-ui declare them. They are not cached, and inherit no defaults; neither is expected of them.
 */
export function losesNothing ({ options }: Pick<DeclaredRoute, 'options'>): boolean {
  const { method, schema, websocket } = options as EarlyRoute
  return isPreflightOnly(options) || websocket === true || (schema?.hide === true && [method].flat().every((each) => each === 'GET' || each === 'HEAD'))
}
