import { problemOf } from '../http/problem.ts'
import { quotaExceededType } from '../http/rate-limit.ts'
import { QuotaExceededError } from '../shared/errors.ts'
import { TwoGenerationLru } from '../shared/lru.ts'

/** Seconds after which a rejected client may retry, at least 1. @param jitter lengthens the time randomly by up to this share of it */
export function retryAfterSecondsOf (retryMs: number, jitter: number): number {
  return Math.max(1, Math.ceil(retryMs / 1000 * (1 + jitter * Math.random())))
}

/**
 * Creates the error of an exceeded quota, with the members of its problem document.
 *
 * @param names of the violated policies
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 5.1
 */
export function quotaExceeded (names: readonly string[], retryAfterSeconds: number): Error {
  return Object.assign(withoutStack(() => new QuotaExceededError(names.join(', '), retryAfterSeconds)), {
    retryAfterSeconds,
    problem: { type: quotaExceededType, title: 'Request cannot be satisfied as assigned quota has been exceeded', 'violated-policies': names }
  })
}

/** Documents up to their last member, by policies and seconds. */
const documents = new TwoGenerationLru<string, string>(500)
const lastMember = '"instance":""}'

/** The problem document of {@link quotaExceeded} as JSON: a client above its limit may send requests as fast as it can. */
export function quotaExceededDocument (names: readonly string[], retryAfterSeconds: number, requestId: string): string {
  const key = `${retryAfterSeconds} ${names.join('\n')}`
  let document = documents.get(key)
  if (document === undefined) {
    const whole = JSON.stringify(problemOf(quotaExceeded(names, retryAfterSeconds), ''))
    documents.set(key, document = whole.slice(0, -lastMember.length))
  }
  return `${document}"instance":${JSON.stringify(String(requestId))}}`
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
