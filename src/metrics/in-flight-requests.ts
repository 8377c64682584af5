import type { IncomingMessage, ServerResponse } from 'node:http'
import { isUpgrade } from '../http/upgrade.ts'

/** The part of a Fastify reply that is used here. */
export interface PendingResponse {
  readonly raw: ServerResponse
  readonly sent: boolean
  getHeader (name: string): unknown
}

/** Whether a response is an event stream (WHATWG HTML section 9.2): it lasts as long as its client stays. */
export function isEventStream (reply: PendingResponse): boolean {
  const type = reply.getHeader('content-type')
  if (typeof type === 'string') return type.startsWith('text/event-stream')
  // Headers passed to `writeHead` are only in the block that was sent.
  const { _header: block } = reply.raw as { _header?: string | null }
  return typeof block === 'string' && /^content-type: *text\/event-stream/im.test(block)
}

/**
 * Requests without a complete response.
 *
 * A client that disconnects ends a request without an event of Fastify, and a `close` listener for each request costs more than a set:
 * such requests are found when the number is read, at each metrics snapshot and scrape.
 */
export class InFlightRequests {
  readonly #pending = new Set<PendingResponse>()

  add (reply: PendingResponse): void {
    this.#pending.add(reply)
  }

  delete (reply: PendingResponse): void {
    this.#pending.delete(reply)
  }

  /** Number of requests in flight, without event streams and WebSockets. */
  get count (): number {
    for (const reply of this.#pending) if (isOver(reply.raw)) this.#pending.delete(reply)
    let count = 0
    for (const reply of this.#pending) if (!isLasting(reply)) count += 1
    return count
  }
}

/** Whether the response was sent, or its connection has closed. */
function isOver (response: ServerResponse): boolean {
  // HTTP/2 has a stream, and no socket once it has ended.
  const { stream, req: { socket } } = response as { stream?: { destroyed: boolean }, req: { socket?: IncomingMessage['socket'] } }
  return response.writableFinished || response.closed || (stream ?? socket)?.destroyed === true
}

function isLasting (reply: PendingResponse): boolean {
  return reply.raw.headersSent ? isEventStream(reply) : reply.sent && isUpgrade(reply.raw.req)
}
