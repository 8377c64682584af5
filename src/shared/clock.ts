/**
 * The clock by which stored data ages in this process: response freshness, denied clients. It runs ahead of the system's clock only in tests, where
 * `advance()` of `fastify-prism/testing` moves it together with the clock of every in-memory Redis. Timeouts and measurements use `performance.now()`.
 */
let offsetMs = 0
/** whether this process has an in-memory Redis, whose clock is `Date.now()` */
let isDateFollowed = false

/** Milliseconds since 1970. */
export function wallMs (): number {
  return Date.now() + offsetMs
}

/** As `performance.now()`, moved by {@link advanceClock}, and by a faked `Date` after {@link followDate}. */
export function steadyMs (): number {
  return (isDateFollowed ? Date.now() - performance.timeOrigin : performance.now()) + offsetMs
}

/** Lets {@link steadyMs} follow `Date.now()`, for the whole process: a test that fakes `Date` moves the clock of an in-memory Redis, and what this process has learned from it. */
export function followDate (): void {
  isDateFollowed = true
}

/** Moves the clock forward, for the whole process. */
export function advanceClock (ms: number): void {
  offsetMs += ms
}
