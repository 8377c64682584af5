import type { LoggerOptions } from 'pino'

/** Paths of secrets in a logged request. The service does not log whole requests; this protects against a mistake. */
const redacted = ['cookie', 'set-cookie', 'authorization', 'password', 'token', 'secret'].flatMap((name) => [
  `["${name}"]`, `headers["${name}"]`, `req.headers["${name}"]`, `res.headers["${name}"]`, `body["${name}"]`
])

/**
 * Options of the service's pino logger: JSON lines with `level` as a string and the text in `message`, as log collectors expect.
 */
export function logOptions (level: string): LoggerOptions {
  return {
    level,
    base: null,
    messageKey: 'message',
    errorKey: 'error',
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: serializeError, err: serializeError },
    redact: { paths: redacted, censor: '[redacted]' }
  }
}

/**
 * Serializes an error without its other properties: the error of a failed Redis command contains the command's arguments.
 */
function serializeError (error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error }
  const { name, message, stack, cause } = error
  const code = 'code' in error ? error.code : undefined
  return { type: name, code, message, stack, ...(cause instanceof Error ? { cause: serializeError(cause) } : {}) }
}
