import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { everySecond } from '../shared/every-second.ts'

/** Why a connection was closed: too many pending requests on it, too many in the process, or a client that does not read. */
export type CloseReason = 'pipelined' | 'overloaded' | 'unread'

/** The limits of one app's connections. */
export interface ConnectionPolicy {
  /** time without progress after which a connection with unsent bytes is closed */
  readonly sendTimeoutMs: number
  /** called for each connection that is closed by a limit */
  onClose (reason: CloseReason): void
}

/** One HTTP/1 connection. */
export interface Connection {
  readonly socket: TrackedSocket
  readonly policy: ConnectionPolicy
  /** Pending requests; 0 if none is queued behind another one. */
  pendingRequests: number
  isClosed: boolean
  /** bytes that the kernel had taken at the last check */
  sentBytes: number
  stalledMs: number
}

const tracked = Symbol('prism.connection')

/** Undocumented properties of Node's sockets, all optional: the current response, the parser and the libuv handle. */
type TrackedSocket = Socket & {
  [tracked]?: Connection
  _httpMessage?: ServerResponse | null
  parser?: { onIncoming?: unknown } | null
  _handle?: { bytesWritten?: number, writeQueueSize?: number } | null
}

/** RFC 9112 section 9.3.2 allows pipelining, without a limit. */
const maxPending = 64
/** In all pipelining connections together: a queued request takes 5 to 10 kB. */
const maxPendingInProcess = 4096
/** Lower than the limit: otherwise each further request would compare all connections. */
const shedTo = 3072
const checkEveryMs = 1000
/** The return value means upgrade, which stops the parser. */
const stopParser = () => 2

/**
 * Limits the HTTP/1 connections of one process.
 *
 * Node emits all requests of one chunk before the first response is sent, also after their socket was destroyed, and it sends responses in order.
 * So a request that is not the first of its connection is delayed until all chunks of this event-loop turn are parsed, and runs only if its
 * connection is still within the limits.
 */
class ConnectionLimits {
  readonly #connections = new Set<Connection>()
  #pendingRequests = 0
  #stopChecks: (() => void) | undefined

  /** The connection of a request; undefined for HTTP/2, which has flow control and a limit of streams, and for injected requests. */
  connectionOf (request: IncomingMessage, policy: ConnectionPolicy): Connection | undefined {
    if (request.httpVersionMajor !== 1) return undefined
    return (request.socket as TrackedSocket)[tracked] ?? this.#track(request.socket, policy)
  }

  #track (socket: TrackedSocket, policy: ConnectionPolicy): Connection | undefined {
    if (!(socket instanceof Duplex)) return undefined
    const connection: Connection = { socket, policy, pendingRequests: 0, isClosed: false, sentBytes: -1, stalledMs: 0 }
    socket[tracked] = connection
    this.#connections.add(connection)
    socket.on('close', onSocketClose)
    this.#stopChecks ??= everySecond(() => { this.#check() })
    return connection
  }

  /** Counts a request that is queued behind another one. May close its connection. */
  enqueue (connection: Connection, response: ServerResponse): void {
    const { _httpMessage: first } = connection.socket
    if (connection.pendingRequests === 0 && first != null) this.#count(connection, first)
    this.#count(connection, response)
    if (connection.pendingRequests > maxPending) this.#close(connection, 'pipelined')
  }

  #count (connection: Connection, response: ServerResponse): void {
    connection.pendingRequests += 1
    this.#pendingRequests += 1
    response.once('finish', onFinish)
  }

  /** A response of this connection was sent. */
  dequeue (connection: Connection): void {
    if (connection.isClosed) return
    connection.pendingRequests -= 1
    this.#pendingRequests -= 1
  }

  /**
   * Enforces the limit of the process: closes the connections with the most pending requests. Connections that do not pipeline are never closed.
   *
   * Called before a queued request runs, when all chunks of this event-loop turn are parsed.
   */
  shed (): void {
    if (this.#pendingRequests <= maxPendingInProcess) return
    const pipelining = [...this.#connections].filter(({ pendingRequests }) => pendingRequests > 0)
    for (const connection of pipelining.sort((one, other) => other.pendingRequests - one.pendingRequests)) {
      if (this.#pendingRequests <= shedTo) return
      this.#close(connection, 'overloaded')
    }
  }

  #close (connection: Connection, reason: CloseReason): void {
    const { socket, policy } = connection
    this.forget(connection)
    // A stopped parser skips the rest of the chunk. If Node changes this, `isClosed` still ends each request.
    if (typeof socket.parser?.onIncoming === 'function') socket.parser.onIncoming = stopParser
    socket.destroy()
    policy.onClose(reason)
  }

  /** Stops counting the connection; its running handlers finish without a client. */
  forget (connection: Connection): void {
    connection.isClosed = true
    this.#connections.delete(connection)
    this.#pendingRequests -= connection.pendingRequests
    connection.pendingRequests = 0
  }

  #check (): void {
    for (const connection of this.#connections) if (isStalled(connection)) this.#close(connection, 'unread')
    if (this.#connections.size > 0) return
    this.#stopChecks?.()
    this.#stopChecks = undefined
  }
}

/** Shared by all apps of a process, because they share its heap. */
export const connectionLimits = new ConnectionLimits()

/** Shared by all connections, as the next one by all responses: no closure for each of them. */
function onSocketClose (this: TrackedSocket): void {
  const connection = this[tracked]
  if (connection !== undefined) connectionLimits.forget(connection)
}

function onFinish (this: ServerResponse): void {
  const connection = (this.req.socket as TrackedSocket)[tracked]
  if (connection !== undefined) connectionLimits.dequeue(connection)
}

/**
 * Whether unsent bytes made no progress for `sendTimeoutMs`. Time is counted in checks, not by the clock: after the event loop was blocked, sockets
 * are written before the next check.
 */
function isStalled (connection: Connection): boolean {
  const { socket, policy } = connection
  if (socket.writableLength === 0) {
    connection.stalledMs = 0
    return false
  }
  // A large body is one write; its progress is visible only in libuv's queue.
  const sentBytes = (socket._handle?.bytesWritten ?? 0) - (socket._handle?.writeQueueSize ?? 0)
  connection.stalledMs = sentBytes === connection.sentBytes ? connection.stalledMs + checkEveryMs : 0
  connection.sentBytes = sentBytes
  return connection.stalledMs >= policy.sendTimeoutMs
}
