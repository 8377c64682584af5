import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { problemOf, problemType, writeProblem } from '../../plugins/standalone/problem.ts'
import type { Problem } from '../../plugins/standalone/problem.ts'

/** A code of Node's HTTP parser: the request is not valid HTTP. */
const malformed = 'HPE_INVALID_CONSTANT'

/**
 * Sends a problem document for input that is not a valid request (malformed HTTP, too large headers, a request timeout) on its socket, and closes
 * the socket.
 *
 * @returns the document that was sent; undefined if the socket cannot be written
 */
export function sendClientError (error: Error & { code?: string }, socket: Socket): Problem | undefined {
  if (error.code === 'ECONNRESET' || !socket.writable || isResponding(socket)) {
    socket.destroy()
    return undefined
  }
  const problem = problemOf({ code: isKnown(error.code) ? error.code : malformed }, randomUUID())
  const body = writeProblem(problem)
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}`,
    `Content-Type: ${problemType}`,
    `Content-Length: ${body.length}`,
    'Cache-Control: no-store',
    'Connection: close'
  ]
  socket.end(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]), () => socket.destroySoon())
  return problem
}

function isKnown (code: string | undefined): boolean {
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' || code?.startsWith('HPE_') === true
}

/** Whether the response to an earlier request is being sent: bytes written now would become part of it. `_httpMessage` is undocumented; Node itself uses it for this check. */
function isResponding (socket: Socket & { _httpMessage?: { headersSent?: boolean } | null }): boolean {
  return socket._httpMessage?.headersSent === true
}
