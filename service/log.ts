import type { LoggerOptions } from 'pino'

/** Where a secret could stand if somebody logged a request whole; nobody of ours does. */
const redacted = ['cookie', 'set-cookie', 'authorization', 'password', 'token', 'secret'].flatMap((name) => [
  `["${name}"]`, `headers["${name}"]`, `req.headers["${name}"]`, `res.headers["${name}"]`, `body["${name}"]`
])

/**
 * The options of the service's log: JSON lines with `level` as a word and the text in `message`, as log collectors read them.
 */
export function logOptions (level: string): LoggerOptions {
  return {
    level,
    base: null,
    messageKey: 'message',
    errorKey: 'error',
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: errorFacts, err: errorFacts },
    redact: { paths: redacted, censor: '[redacted]' }
  }
}

/**
 * What a log may know of an error. Its other properties stay out: a failed Redis command, for one, carries its arguments.
 */
function errorFacts (error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error }
  const { name, message, stack, cause } = error
  const code = 'code' in error ? error.code : undefined
  return { type: name, code, message, stack, ...(cause instanceof Error ? { cause: errorFacts(cause) } : {}) }
}
