import { maxRemembered } from './read-listener.ts'

/**
 * Descriptions of the symbols under which Fastify, this package and the tested APM agents keep their own state on a request, a reply or a raw message.
 * The agents' wrappers around handlers and hooks read them. Every other symbol counts as an input.
 *
 * fastify otel: `@fastify/otel`. opentelemetry: `@opentelemetry/instrumentation-fastify`. sentry and SentryScopeBoundListeners: `@sentry/node`. OtListeners: OpenTelemetry's context manager. transactionInfo: `newrelic`.
 * ws-socket: @fastify/websocket, whose wrapper around every handler reads it; it is set only on upgrades, which are never cached.
 */
const internalSymbol = /^(?:(?:fastify|prism)\.|fastify otel |opentelemetry\.instrumentation\.fastify\.|sentry[ .]|SentryScopeBoundListeners$|OtListeners$|transactionInfo$|ws-socket$)/

const known = new Map<PropertyKey, boolean>()

/** Whether a symbol property is internal to Fastify, to this package or to a tested APM agent. */
export function isInternalSymbol (key: PropertyKey): boolean {
  if (typeof key !== 'symbol') return false
  const before = known.get(key)
  if (before !== undefined) return before
  const isInternal = internalSymbol.test(key.description ?? '')
  // Bounded, because an app may create a symbol for each request.
  if (known.size < maxRemembered) known.set(key, isInternal)
  return isInternal
}
