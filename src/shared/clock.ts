/**
 * The clock by which stored data ages in this process: response freshness, denied clients. It runs ahead of the system's clock only in tests, where
 * `advance()` of `fastify-prism/testing` moves it together with the clock of every in-memory Redis. Timeouts and measurements use `performance.now()`.
 */
let offsetMs = 0

/** Milliseconds since 1970. */
export function wallMs (): number {
  return Date.now() + offsetMs
}

/** As `performance.now()`, moved by {@link advanceClock}. */
export function steadyMs (): number {
  return performance.now() + offsetMs
}

/** Moves the clock forward, for the whole process. */
export function advanceClock (ms: number): void {
  offsetMs += ms
}
