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

/** Slot of a reply in {@link InFlightRequests}; a reply decorator, so that all replies keep one hidden class. */
export const inFlightSlot = Symbol('prism.in-flight-slot')

type Tracked = PendingResponse & { [inFlightSlot]?: number | null }

/**
 * Requests without a complete response.
 *
 * A client that disconnects ends a request without an event of Fastify, and a `close` listener for each request costs more than a slot:
 * such requests are found when the number is read, at each metrics snapshot and scrape.
 *
 * They stand in an array whose slots are used again. A `Set` cost 11 µs a request (`npm run bench -- hot`), five times as much as all
 * other metrics, but only with replies that wait for Redis in it.
 */
export class InFlightRequests {
  readonly #slots: (Tracked | undefined)[] = []
  readonly #free: number[] = []

  add (reply: Tracked): void {
    const slot = this.#free.pop() ?? this.#slots.length
    this.#slots[slot] = reply
    reply[inFlightSlot] = slot
  }

  /** Without effect for a reply that is not in flight. */
  delete (reply: Tracked): void {
    const slot = reply[inFlightSlot]
    if (typeof slot !== 'number' || this.#slots[slot] !== reply) return
    this.#slots[slot] = undefined
    this.#free.push(slot)
  }

  /** Number of requests in flight, without event streams and WebSockets. */
  get count (): number {
    let count = 0
    for (const reply of this.#slots) {
      if (reply === undefined) continue
      if (isOver(reply.raw)) this.delete(reply)
      else if (!isLasting(reply)) count += 1
    }
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
