/**
 * `redis.commandTimeout` of test apps, in ms. On a busy machine replies later than the default of 200 ms are common: an app would bypass its cache, count locally and respond with 503.
 * A test of slow or missing replies uses `defaultDeadlineMs` instead.
 */
export const commandTimeout = 5000
