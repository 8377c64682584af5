import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { connectionLimits } from '../src/http/connection-limits.ts'
import type { CloseReason, Connection, ConnectionPolicy } from '../src/http/connection-limits.ts'
import { readDuration, readRecord } from '../src/shared/option-readers.ts'
import type { Duration } from '../src/shared/option-readers.ts'

/** What connections of clients are allowed. */
export interface ConnectionOptions {
  /** A connection with unsent bytes of which its client reads none for this long is closed; default `'30s'`. */
  sendTimeout?: Duration
}

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Counts a request that reaches no hook, for the app's `frameworkErrors`: false where its connection was closed by a limit, and the reply is hijacked.
     */
    isWithinConnectionLimits (request: FastifyRequest, reply: FastifyReply): boolean
  }
}

const defaultSendTimeout: Duration = '30s'
const logEveryMs = 60_000

/**
 * Closes HTTP/1 connections with more than 64 unanswered requests, those with the most where all of the process have more than 4,096, and those
 * whose clients do not read.
 *
 * Register it before all plugins whose hooks work for a request: it is the first hook, so that a request that cannot be answered costs nothing more.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration
 */
export default fp<ConnectionOptions>(async (fastify, options) => {
  const { sendTimeout = defaultSendTimeout } = readRecord('connections', options, ['sendTimeout'])
  const policy: ConnectionPolicy = { sendTimeoutMs: readDuration('connections.sendTimeout', sendTimeout), onClose: countClosed(fastify.log) }

  fastify.addHook('onRequest', function admit (request, reply, done) {
    const connection = connectionLimits.connectionOf(request.raw as IncomingMessage, policy)
    // A response has its socket from the start, unless it waits for its turn.
    if (connection === undefined || reply.raw.socket !== null) return done()
    // One immediate a request: hooks that follow keep its async context.
    if (enqueue(connection, reply)) setImmediate(resume, connection, reply, done)
  })
  fastify.decorate('isWithinConnectionLimits', (request, reply) => {
    const connection = connectionLimits.connectionOf(request.raw as IncomingMessage, policy)
    return connection === undefined || reply.raw.socket !== null || enqueue(connection, reply)
  })
}, { name: 'connection-limits', fastify: '5.x' })

/** Counts a request behind another one. Where its connection is closed, before or by it, nothing runs for it and nothing is sent. */
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

/** One line a minute, however many connections a flood brings. */
function countClosed (log: { warn: (facts: object, text: string) => void }): (reason: CloseReason) => void {
  let loggedAt = -Infinity
  let counts = { pipelined: 0, overloaded: 0, unread: 0 }
  return (reason) => {
    counts[reason] += 1
    if (performance.now() - loggedAt < logEveryMs) return
    loggedAt = performance.now()
    log.warn({ closed: counts }, 'Connections were closed: too many unanswered requests on one connection (pipelined) or in the process (overloaded), or a client that does not read (unread)')
    counts = { pipelined: 0, overloaded: 0, unread: 0 }
  }
}
