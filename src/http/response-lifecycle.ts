import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** What ends with a connection, whatever becomes of its answers. */
const endings = new WeakMap<Socket, Set<() => void>>()

/**
 * Calls a listener once when an exchange is over: the answer has left, or nobody is there to read it.
 *
 * The answer to a pipelined request that waits for its turn hears nothing when its connection breaks, so the connection is asked too.
 */
export function onClosed (message: IncomingMessage, response: ServerResponse, listener: () => void): void {
  const socket = socketOf(message, response)
  const ends = endings.get(socket) ?? endingsOf(socket)
  const over = () => {
    if (!ends.delete(over)) return
    response.off('close', over)
    listener()
  }
  ends.add(over)
  response.once('close', over)
  if (socket.destroyed || response.closed) over()
}

/** Calls a listener once when an answer has left, or could not, and now where it is given already; who goes away before hears nothing of it, nor does this. */
export function onSent (response: ServerResponse, listener: () => void): void {
  if (isGiven(response)) return listener()
  const sent = () => {
    if (!isGiven(response)) return
    response.off('finish', sent)
    response.off('error', sent)
    listener()
  }
  response.once('finish', sent)
  response.once('error', sent)
}

/** Whether all of an answer has left. */
export function isSent (response: ServerResponse): boolean {
  return response.writableEnded && response.writableFinished
}

/** A stream of HTTP/2 that was reset says that it has finished, though nobody has ended it. */
function isGiven (response: ServerResponse): boolean {
  return response.writableEnded || response.errored != null
}

/** An injected upgrade has a socket for its answer alone. */
function socketOf (message: { readonly socket?: Socket }, response: ServerResponse): Socket {
  return message.socket ?? response.socket as Socket
}

/** One listener a connection, however many requests it bears. */
function endingsOf (socket: Socket): Set<() => void> {
  const ends = new Set<() => void>()
  endings.set(socket, ends)
  socket.once('close', () => { for (const over of ends) over() })
  return ends
}
