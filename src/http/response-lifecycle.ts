import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Close listeners of each connection. */
const endings = new WeakMap<Socket, Set<() => void>>()

/**
 * Calls a listener once when the response was sent or its connection has closed.
 *
 * A pipelined response that is not the current one emits nothing when its connection closes, so the connection is observed too.
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

/** Calls a listener once when a response has been sent or has failed, and at once if it has ended already. It is not called if the client disconnects before the response ends. */
export function onSent (response: ServerResponse, listener: () => void): void {
  if (isEnded(response)) return listener()
  const sent = () => {
    if (!isEnded(response)) return
    response.off('finish', sent)
    response.off('error', sent)
    listener()
  }
  response.once('finish', sent)
  response.once('error', sent)
}

/** Whether the whole response was sent. */
export function isSent (response: ServerResponse): boolean {
  return response.writableEnded && response.writableFinished
}

/** A reset HTTP/2 stream reports that it has finished although it was not ended. */
function isEnded (response: ServerResponse): boolean {
  return response.writableEnded || response.errored != null
}

/** An injected upgrade has a socket only at its response. */
function socketOf (message: { readonly socket?: Socket }, response: ServerResponse): Socket {
  return message.socket ?? response.socket as Socket
}

/** One `close` listener for each connection, however many requests it carries. */
function endingsOf (socket: Socket): Set<() => void> {
  const ends = new Set<() => void>()
  endings.set(socket, ends)
  socket.once('close', () => { for (const over of ends) over() })
  return ends
}
