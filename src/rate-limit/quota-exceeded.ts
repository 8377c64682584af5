import { QuotaExceededError } from '../shared/errors.ts'
import { quotaExceededType } from '../http/rate-limit.ts'

/**
 * Makes the error of a used-up quota: it bears the fields and members of its problem document.
 *
 * @param names of the violated policies
 * @param jitter spreads the time by up to this share of it
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 5.1
 */
export function quotaExceeded (names: readonly string[], retryMs: number, jitter: number): Error {
  const retryAfterSeconds = Math.max(1, Math.ceil(retryMs / 1000 * (1 + jitter * Math.random())))
  return Object.assign(withoutStack(() => new QuotaExceededError(names.join(', '), retryAfterSeconds)), {
    retryAfterSeconds,
    problem: { type: quotaExceededType, title: 'Request cannot be satisfied as assigned quota has been exceeded', 'violated-policies': names }
  })
}

/** Where a refusal was made tells nobody anything, and finding it out costs more than the rest of it. */
function withoutStack (make: () => Error): Error {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
