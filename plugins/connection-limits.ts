import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { connectionLimits } from '../src/http/connection-limits.ts'
import type { CloseReason, Connection, ConnectionPolicy } from '../src/http/connection-limits.ts'
import { readDuration, readRecord } from '../src/shared/option-readers.ts'
import type { Duration } from '../src/shared/option-readers.ts'

/** Limits of client connections. */
export interface ConnectionOptions {
  /** Closes a connection that has unsent bytes and whose client has read none of them for this long; default `'30s'`. */
  sendTimeout?: Duration
}

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Counts a request that reaches no hook; for the app's `frameworkErrors`. Returns false if a limit has closed its connection; the reply is then hijacked.
     */
    isWithinConnectionLimits (request: FastifyRequest, reply: FastifyReply): boolean
  }
}

const defaultSendTimeout: Duration = '30s'
const logEveryMs = 60_000

/**
 * Closes an HTTP/1 connection with more than 64 pending requests; the connections with the most pending requests if the process has more than
 * 4,096; and connections whose clients do not read.
 *
 * Register it before all other plugins: its hook runs first, so that a request whose connection was closed costs nothing more.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration
 */
export default fp<ConnectionOptions>(async (fastify, options) => {
  const { sendTimeout = defaultSendTimeout } = readRecord('connections', options, ['sendTimeout'])
  const policy: ConnectionPolicy = { sendTimeoutMs: readDuration('connections.sendTimeout', sendTimeout), onClose: countClosed(fastify.log) }

  fastify.addHook('onRequest', function admit (request, reply, done) {
    const connection = connectionLimits.connectionOf(request.raw as IncomingMessage, policy)
    // A response has a socket from the start, unless an earlier response on its connection is not sent yet.
    if (connection === undefined || reply.raw.socket !== null) return done()
    // One setImmediate for each request: the hooks that follow keep the request's async context.
    if (enqueue(connection, reply)) setImmediate(resume, connection, reply, done)
  })
  fastify.decorate('isWithinConnectionLimits', (request, reply) => {
    const connection = connectionLimits.connectionOf(request.raw as IncomingMessage, policy)
    return connection === undefined || reply.raw.socket !== null || enqueue(connection, reply)
  })
}, { name: 'connection-limits', fastify: '5.x' })

/** Counts a pipelined request. If its connection is closed, before or because of it, no handler runs and nothing is sent. */
function enqueue (connection: Connection, reply: FastifyReply): boolean {
  if (!connection.isClosed) connectionLimits.enqueue(connection, reply.raw as ServerResponse)
  if (connection.isClosed) reply.hijack()
  return !connection.isClosed
}

function resume (connection: Connection, reply: FastifyReply, done: () => void): void {
  connectionLimits.shed()
  if (connection.isClosed) reply.hijack()
  else done()
}

/** Logs at most one line a minute. */
function countClosed (log: { warn: (facts: object, text: string) => void }): (reason: CloseReason) => void {
  let loggedAt = -Infinity
  let counts = { pipelined: 0, overloaded: 0, unread: 0 }
  return (reason) => {
    counts[reason] += 1
    if (performance.now() - loggedAt < logEveryMs) return
    loggedAt = performance.now()
    log.warn({ closed: counts }, 'Connections closed: too many pending requests on one connection (pipelined) or in the process (overloaded), or a client that does not read (unread)')
    counts = { pipelined: 0, overloaded: 0, unread: 0 }
  }
}
