import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Responses with close listeners, by connection. */
const observedOf = new WeakMap<Socket, ObservedResponse[]>()

const closeListeners = Symbol('prism.closeListeners')
const connection = Symbol('prism.connection')

/** A response with its close listeners, and the responses that are observed on its connection. */
type ObservedResponse = ServerResponse & { [closeListeners]?: (() => void)[] | undefined, [connection]?: ObservedResponse[] }

/**
 * Calls a listener once when the response was sent or its connection has closed.
 *
 * A pipelined response that is not the current one emits nothing when its connection closes, so the connection is observed too.
 */
export function onClosed (message: IncomingMessage, response: ObservedResponse, listener: () => void): void {
  const socket = socketOf(message, response)
  if (socket.destroyed || response.closed) return listener()
  const known = response[closeListeners]
  // An array that grows reserves memory for 16 more items.
  response[closeListeners] = known === undefined ? [listener] : known.concat(listener)
  if (known !== undefined) return
  const observed = observedOf.get(socket)
  if (observed === undefined) response[connection] = observe(socket, response)
  else (response[connection] = observed).push(response)
  response.on('close', closed)
}

/** Shared by all responses: closures for each one are a part of the memory of a live connection. */
function closed (this: ObservedResponse): void {
  const listeners = this[closeListeners]
  if (listeners === undefined) return
  this[closeListeners] = undefined
  this.off('close', closed)
  const observed = this[connection] ?? []
  const index = observed.indexOf(this)
  if (index >= 0) observed.splice(index, 1)
  for (const listener of listeners) listener()
}

/** One `close` listener for each connection, however many requests it carries. */
function observe (socket: Socket, response: ObservedResponse): ObservedResponse[] {
  const observed = [response]
  observedOf.set(socket, observed)
  socket.on('close', () => { for (const response of [...observed]) closed.call(response) })
  return observed
}

const sentListeners = Symbol('prism.sentListeners')

type SendingResponse = ServerResponse & { [sentListeners]?: readonly (() => void)[] | undefined }

/** Calls a listener once when a response has been sent or has failed, and at once if it has ended already. It is not called if the client disconnects before the response ends. */
export function onSent (response: SendingResponse, listener: () => void): void {
  if (isEnded(response)) return listener()
  const known = response[sentListeners]
  response[sentListeners] = known === undefined ? [listener] : [...known, listener]
  if (known !== undefined) return
  // They stay: removing a listener costs more than calling it for nothing.
  response.on('finish', sent)
  response.on('error', sent)
}

/** Shared by all responses. */
function sent (this: SendingResponse): void {
  const listeners = this[sentListeners]
  if (listeners === undefined || !isEnded(this)) return
  this[sentListeners] = undefined
  for (const listener of listeners) listener()
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
