import type { IncomingHttpHeaders } from 'node:http'

/**
 * Whether a request is a CORS preflight (Fetch standard, CORS protocol). A browser sends it without credentials, and takes a refusal for a network error.
 */
export function isPreflight (method: string | undefined, headers: IncomingHttpHeaders): boolean {
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
}
