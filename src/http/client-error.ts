import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { plainErrors, problemOf, problemType, writeProblem, type Problem } from './problem.ts'

/**
 * Answers what is no request at all (broken HTTP, header fields that are too large, a request that never ends) on its bare socket,
 * and closes it.
 *
 * @returns what was answered; undefined when nobody is left to read it
 */
export function answerClientError (error: Error & { code?: string }, socket: Socket): Problem | undefined {
  if (error.code === 'ECONNRESET' || !socket.writable || isAnswering(socket)) {
    socket.destroy()
    return undefined
  }
  const known = error.code === undefined ? {} : { code: error.code }
  const problem = problemOf(isKnown(error.code) ? known : { code: plainErrors.malformed.code, statusCode: 400, message: plainErrors.malformed.detail }, randomUUID())
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

/** Whether an earlier request's answer has begun to leave: words of ours would become part of it. Node keeps it there, and looks there too. */
function isAnswering (socket: Socket & { _httpMessage?: { headersSent?: boolean } | null }): boolean {
  return socket._httpMessage?.headersSent === true
}
