import { QuotaExceededError } from '../shared/errors.ts'
import { quotaExceededType } from '../http/rate-limit.ts'

/**
 * Creates the error of an exceeded quota, with the members of its problem document.
 *
 * @param names of the violated policies
 * @param jitter lengthens the time randomly by up to this share of it
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 5.1
 */
export function quotaExceeded (names: readonly string[], retryMs: number, jitter: number): Error {
  const retryAfterSeconds = Math.max(1, Math.ceil(retryMs / 1000 * (1 + jitter * Math.random())))
  return Object.assign(withoutStack(() => new QuotaExceededError(names.join(', '), retryAfterSeconds)), {
    retryAfterSeconds,
    problem: { type: quotaExceededType, title: 'Request cannot be satisfied as assigned quota has been exceeded', 'violated-policies': names }
  })
}

/** A stack trace has no use here and costs more than the rest of the rejection. */
function withoutStack (make: () => Error): Error {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
