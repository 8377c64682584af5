import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

/** Time that a client has to read a rejection and close the connection. */
const lingerMs = 2000
/** Time without progress after which the connection of an unread rejection is closed. */
const stallMs = 10_000

/** A server's socket; an injected one has no `setTimeout`. */
type UpgradeSocket = Duplex & { setTimeout? (ms: number): unknown, _httpMessage?: ServerResponse | null }

/**
 * Whether Node has taken the request's socket away from its HTTP server for an upgrade.
 * Node sets `upgrade` on every request it parses; a request without it was injected.
 */
export function isUpgrade ({ upgrade, headers }: { readonly upgrade?: boolean | null, readonly headers: Readonly<Record<string, string | string[] | undefined>> }): boolean {
  return upgrade ?? headers.upgrade !== undefined
}

/**
 * Whether a request is an upgrade to a WebSocket (RFC 6455 section 4.2.1), whether or not the server upgrades it.
 * Other protocols in `Upgrade`, such as `h2c`, cannot be named by a page.
 */
export function wantsWebSocket (upgrade: string | undefined): boolean {
  return upgrade !== undefined && /(?:^|[\s,])websocket(?:$|[\s,/])/i.test(upgrade)
}

/** Decides for a request with `Upgrade` whether Node takes its socket away from the HTTP server; Node has it from 24.9 on. */
type UpgradeDecider = Server & { shouldUpgradeCallback?: (request: IncomingMessage) => boolean }

/**
 * Restricts which requests are upgraded. Other requests are handled as plain requests (RFC 9110 section 7.8).
 *
 * Before Node 24.9 this has no effect: a request with `Upgrade` to another route reaches its handler outside the HTTP server, and its connection is
 * closed after the response ({@link endWithRefusal}).
 */
export function restrictUpgrades (server: UpgradeDecider, mayUpgrade: (request: IncomingMessage) => boolean): void {
  const { shouldUpgradeCallback } = server
  if (shouldUpgradeCallback === undefined) return
  const mayUpgradeBoth = (request: IncomingMessage) => mayUpgrade(request) && shouldUpgradeCallback.call(server, request)
  server.shouldUpgradeCallback = mayUpgradeBoth
}

/**
 * Handles a pipelined upgrade as a plain request, and closes its connection after the response.
 *
 * Node upgrades it at once, while its socket belongs to the response before it: no response can be written (ERR_HTTP_SOCKET_ASSIGNED), and the
 * HTTP server no longer closes the socket. Before Node 24.9 such a request receives no response: its connection is closed after the responses before it.
 */
export function refusePipelinedUpgrades (server: UpgradeDecider): void {
  if (server.shouldUpgradeCallback === undefined) return dropPipelinedUpgrades(server)
  restrictUpgrades(server, (request) => {
    if (!isBehindAnother(request)) return true
    // Node emits `request` for it next.
    server.prependOnceListener('request', (next, response) => { if (next === request) response.shouldKeepAlive = false })
    return false
  })
}

/** A socket at which Node stores the response that is being sent. */
type BusySocket = Duplex & { readonly _httpMessage?: ServerResponse | null }

/** Whether an earlier response on the connection is pending. */
function isBehindAnother ({ socket }: { readonly socket: BusySocket }): boolean {
  return socket._httpMessage != null
}

/** For Node before 24.9. `emit` is replaced because a listener cannot keep the event from those of the plugins that upgrade. */
function dropPipelinedUpgrades (server: Server): void {
  const emit: (event: string, ...args: unknown[]) => boolean = server.emit.bind(server)
  const emitUnlessPipelined = (event: string, ...args: unknown[]) => {
    const socket = event === 'upgrade' ? args[1] as BusySocket : undefined
    if (socket?._httpMessage == null) return emit(event, ...args)
    // Node has removed its own listeners from the socket.
    socket.on('error', () => { socket.destroy() })
    socket.resume()
    endAfterResponses(socket)
    return true
  }
  server.emit = emitUnlessPipelined
}

/** Node assigns the next pipelined response to the socket before `finish` of the one before it reaches this listener. */
function endAfterResponses (socket: BusySocket): void {
  const response = socket._httpMessage
  if (response == null) linger(socket)
  else response.once('finish', () => { endAfterResponses(socket) })
}

/**
 * Ends the socket of an upgrade after the response that rejects it.
 *
 * After an upgrade the HTTP server neither closes the socket nor counts it among its connections. An upgrade that is accepted writes to the
 * socket itself and never ends this response, so an ended response is a rejection, whichever hook, router or error handler wrote it.
 */
export function endWithRefusal (response: ServerResponse): void {
  const socket = response.socket as UpgradeSocket | null
  if (socket === null) return
  response.setHeader('connection', 'close')
  response.once('prefinish', () => { linger(socket) })
  socket.setTimeout?.(stallMs)
  socket.on('timeout', destroyUnread)
}

/** Shared by all sockets, so that an accepted upgrade does not keep its request and response in memory. */
function destroyUnread (this: UpgradeSocket): void {
  const response = this._httpMessage
  if (response != null && response.headersSent && !response.writableFinished) this.destroy()
}

/**
 * An upgrade was accepted: the socket no longer refers to the response, which nothing writes to, so that it and its request are not kept in memory as long
 * as the connection. A response that something observes stays, because its `close` event follows that of the socket.
 */
export function releaseResponse (response: ServerResponse): void {
  const { socket } = response
  if (socket !== null && response.listenerCount('close') === 0) response.detachSocket(socket)
}

/** Closes the server's side; Node closes the socket once the client has closed its own. Closing both at once could reset the connection before the response is read. */
function linger (socket: UpgradeSocket): void {
  socket.end()
  socket.resume()
  const timer = setTimeout(() => { socket.destroy() }, lingerMs).unref()
  socket.once('close', () => { clearTimeout(timer) })
}
