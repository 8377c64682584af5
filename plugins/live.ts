import { readFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { ServerResponse } from 'node:http'
import type { OutgoingHttpHeaders } from 'node:http'
import { Duplex, Readable } from 'node:stream'
import type { WebSocket, WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { DrainingError, SessionUnavailableError, UpgradeRequiredError } from '../src/shared/errors.ts'
import { clientAddress, clientKey } from '../src/http/client-key.ts'
import { onClosed } from '../src/http/response-lifecycle.ts'
import { releaseResponse, restrictUpgrades } from '../src/http/upgrade.ts'
import { ClusterConnections } from '../src/live/cluster-connections.ts'
import type { ConnectionInfo } from '../src/live/cluster-connections.ts'
import { checkTopics } from '../src/live/connection.ts'
import type { Client, ConnectionDeps } from '../src/live/connection.ts'
import { Connections } from '../src/live/connections.ts'
import type { ConnectionFilter } from '../src/live/connections.ts'
import { bounds, resolveLivePolicy } from '../src/live/options.ts'
import type { LiveOptions } from '../src/live/options.ts'
import { ReplayBudget } from '../src/live/replay-budget.ts'
import { followRevocations } from '../src/live/revocations.ts'
import { retryOnlyStream, readStart, StreamConnection, streamQuery } from '../src/live/event-stream.ts'
import type { StreamQuery } from '../src/live/event-stream.ts'
import { ConnectionStore } from '../src/live/connection-store.ts'
import { importPeer } from '../src/shared/optional-peer.ts'
import { WebSocketConnection } from '../src/live/websocket.ts'
import type {} from './events.ts'
import type {} from './rate-limit.ts'
import type {} from './redis.ts'
import type {} from './session.ts'

export type { ConnectionInfo } from '../src/live/cluster-connections.ts'
export type { LiveOptions, LivePaths, TopicRule } from '../src/live/options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Live connections: `connections({ user, topic })` of all processes, after 200 ms; `counts` of this process. */
    live: {
      connections (filter?: ConnectionFilter): Promise<ConnectionInfo[]>
      readonly counts: { readonly websocket: number, readonly stream: number }
    }
  }
}

const client = readFileSync(new URL('../src/live/client.js', import.meta.url), 'utf8')
const uncached = { cache: false } as const
/** Keeps a route out of an OpenAPI document of @fastify/swagger. An `object`, because only that package's types know the key. */
const hidden: object = { hide: true }

/**
 * Registers the routes that deliver topics to browsers: `GET /live` is a WebSocket, `GET /events` an event stream, `GET /live.js` the WebSocket client.
 * The option `paths` chooses others.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 * @throws {PeerMissingError} PRISM_ERR_PEER_MISSING, at registration, if @fastify/websocket is not installed
 */
export default fp<LiveOptions>(async (fastify, options) => {
  const policy = resolveLivePolicy(options)
  const { default: websocket } = await importPeer('fastify-prism/live', '@fastify/websocket', () => import('@fastify/websocket'))
  const { prefix } = fastify
  const websocketUrl = prefix + policy.paths.websocket
  const streamUrl = prefix + policy.paths.stream
  const instance = randomBytes(9).toString('base64url')
  const pool = fastify.redisPool
  const { batch, keyspace } = pool
  const connections = new Connections(new ConnectionStore(batch, keyspace, instance, policy.heartbeatMs, () => pool.server?.isCluster !== false), (userId) => fastify.sessions.devices(userId), policy)
  const clusterConnections = new ClusterConnections(fastify.events, connections, instance)
  /** responses of upgrades */
  const upgrades = new WeakMap<FastifyRequest, ServerResponse>()
  /** the connections of payloads */
  const streams = new WeakMap<object, StreamConnection>()
  const deps: ConnectionDeps = {
    policy,
    replayBudget: new ReplayBudget(policy.replayedEventsPerSecond),
    events: fastify.events,
    onFailure: (error) => fastify.log.error({ err: error }, 'Live topic rule threw'),
    onSocketError: (error) => fastify.log.debug({ err: error }, 'A WebSocket failed'),
    onChange: (connection) => connections.changed(connection),
    onClose: (connection) => connections.remove(connection)
  }

  fastify.decorate('live', { getter: () => ({ connections: (filter: ConnectionFilter = {}) => clusterConnections.query(filter), counts: connections.counts }) })
  followRevocations(fastify.sessions, fastify.events, connections, (error) => fastify.log.warn({ err: error }, 'A revocation was not published'))
  // An app with WebSocket routes of its own has registered the plugin, whose decorators exist once.
  const hasOwnWebSockets = fastify.hasDecorator('websocketServer')
  // Other routes ignore the Upgrade field (RFC 9110 section 7.8).
  if (!hasOwnWebSockets) restrictUpgrades(fastify.server, ({ method, url = '' }) => method === 'GET' && url.split('?', 1)[0] === websocketUrl)
  fastify.addHook('preClose', () => connections.drain(policy.drainMs))

  await fastify.register(async (scope) => {
    if (!hasOwnWebSockets) await scope.register(websocket, websocketOptions)
    scope.addHook('onRequest', async function rejectUnavailable (request, reply) {
      const error = unavailability(request, connections)
      if (error !== undefined && request.routeOptions.url === streamUrl) {
        onClosed(request.raw, reply.raw, () => { endIfDraining(request, connections) })
        return sendStream(reply, retryOnlyStream())
      }
      if (error !== undefined) throw error
    })
    scope.addHook('onSend', async (request, reply, payload) => request.routeOptions.url === streamUrl && isRejectedTemporarily(request, reply) ? sendRetryOnly(reply, payload) : payload)
    // Routes are changed in the order of these hooks: the last onSend hook of all.
    scope.addHook('onRoute', (route) => { if (route.url === streamUrl) route.onSend = [...[route.onSend ?? []].flat(), writeDirectly] })
    const writeDirectly: onSendHookHandler = (_request, reply, payload, done) => {
      if (payload instanceof Readable) removeLength(reply)
      const connection = typeof payload === 'object' && payload !== null ? streams.get(payload) : undefined
      // Fastify pipes a stream that is not written here, and observes it and its response until both have ended.
      if (connection === undefined || !isChunked(reply)) return done(null, payload)
      reply.raw.writeHead(reply.statusCode, reply.getHeaders() as OutgoingHttpHeaders)
      connection.writeTo(reply.raw)
    }
    // The last hook before the handler: a reserved slot is always used.
    scope.addHook('preHandler', async function reserveSlot (request, reply) {
      if (!request.ws && request.routeOptions.url !== streamUrl) return
      const release = connections.reserve(clientOf(request))
      // Also runs when the client has disconnected already.
      if (!request.ws) return onClosed(request.raw, reply.raw, release)
      upgrades.set(request, reply.raw)
      const { socket } = reply.raw
      if (socket === null || socket.destroyed) release()
      else socket.on('close', release)
    })

    scope.route({
      method: 'GET',
      url: policy.paths.websocket,
      exposeHeadRoute: false,
      config: { ...uncached, session: { trustedOrigins: policy.origins } },
      schema: hidden,
      handler: async () => { throw Object.assign(new UpgradeRequiredError(), { headers: { upgrade: 'websocket' } }) },
      wsHandler: (socket, request) => {
        // The listener of @fastify/websocket keeps the request in memory as long as the connection, which has its own listener.
        if (socket.listenerCount('error') === 1) socket.removeAllListeners('error')
        connections.add(new WebSocketConnection(socket, wireOf(socket, request), clientOf(request), deps))
        const response = upgrades.get(request)
        if (response !== undefined) releaseResponse(response)
      }
    })

    // Not async: Fastify would observe the response of a handler that returns a promise, as long as the stream is open.
    scope.get<{ Querystring: StreamQuery }>(policy.paths.stream, { exposeHeadRoute: false, config: uncached, schema: streamSchema }, (request, reply) => {
      const { topics, positions } = readStart(request.query, request.headers['last-event-id'])
      const liveClient = clientOf(request)
      checkTopics(policy, liveClient, topics)
      const connection = new StreamConnection(reply.raw, liveClient, deps)
      try {
        connection.open(topics, positions)
      } catch (error) {
        connection.ended()
        throw error
      }
      connections.add(connection)
      // Also runs when the client has disconnected already: what was opened is closed then.
      onClosed(request.raw, reply.raw, () => {
        connection.disconnected()
        endIfDraining(request, connections)
      })
      if (connection.body !== undefined) streams.set(connection.body, connection)
      sendStream(reply, connection.body)
    })
  })

  const clientModule = client.replace("'/live'", JSON.stringify(websocketUrl))
  fastify.get(policy.paths.client, { config: { ...uncached, session: false }, schema: hidden }, async (_request, reply) => sendClient(reply, clientModule))
}, { name: 'fastify-prism/live', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/session', 'fastify-prism/events'] })

const websocketOptions: WebsocketPluginOptions = {
  options: { maxPayload: bounds.frameBytes, maxFragments: bounds.fragments, perMessageDeflate: false },
  errorHandler: (error, socket, request) => {
    request.log.debug({ err: error }, 'A WebSocket failed')
    socket.terminate()
  },
  preClose: (done) => done()
}

const streamSchema = {
  summary: 'Event stream of topics: ?topic= (repeatable) &since= the ID of the last event seen',
  tags: ['live'],
  produces: ['text/event-stream'],
  querystring: streamQuery
}

/** Why no connection can be opened at present; undefined if one can. */
function unavailability ({ session }: FastifyRequest, { isDraining }: Connections): Error | undefined {
  if (isDraining) return new DrainingError()
  return session.state === 'unavailable' ? new SessionUnavailableError('Redis does not reply') : undefined
}

/** Ends the connection of a stream that has ended. Node keeps it open until its keep-alive timeout, and a server that is closed waits for it. */
function endIfDraining ({ raw }: FastifyRequest, { isDraining }: Connections): void {
  if (isDraining && raw.httpVersionMajor === 1) raw.socket.end()
}

const streamFields = { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' } as const

/** An event stream has no length: a client takes what is beyond the one that a hook has set for the next response (RFC 9112 section 6.3). */
function removeLength (reply: FastifyReply): void {
  reply.removeHeader('content-length')
  if (!reply.raw.headersSent) reply.raw.removeHeader('content-length')
}

/** Whether a stream is written in chunks. HTTP/2 and HTTP/1.0 have none, and Fastify writes trailers at the end of a stream. */
function isChunked (reply: FastifyReply): boolean {
  const { raw } = reply
  return raw instanceof ServerResponse && raw.useChunkedEncodingByDefault && !raw.headersSent && !hasTrailers(reply)
}

function hasTrailers (reply: FastifyReply): boolean {
  const symbol = Object.getOwnPropertySymbols(reply).find(({ description }) => description === 'fastify.reply.trailers')
  return symbol === undefined || (reply as unknown as Record<symbol, unknown>)[symbol] !== null
}

function sendStream (reply: FastifyReply, body: Readable | string | undefined): FastifyReply {
  return reply.headers(streamFields).send(body)
}

/**
 * Whether an event stream is rejected temporarily: an EventSource does not reconnect after a status other than 200 (WHATWG HTML section 9.2.3).
 * The connection limit applies as long as the other connections are open, so a client that is not an EventSource receives the 429.
 */
function isRejectedTemporarily (request: FastifyRequest, { statusCode }: FastifyReply): boolean {
  if (statusCode !== 429 && statusCode !== 503) return false
  const isOverQuota = (request as Partial<FastifyRequest>).rateLimit?.some(({ retryMs }) => retryMs > 0) === true
  return statusCode === 503 || isOverQuota || /\btext\/event-stream\b/i.test(request.headers.accept ?? '')
}

/** Replaces the response by a stream that ends at once and tells the client to reconnect, not before `Retry-After`. */
function sendRetryOnly (reply: FastifyReply, payload: unknown): string {
  if (payload instanceof Readable) payload.destroy()
  const retryAfterSeconds = Number(reply.getHeader('retry-after') ?? 0)
  reply.code(200).removeHeader('content-length').headers(streamFields)
  return retryOnlyStream(Number.isFinite(retryAfterSeconds) ? retryAfterSeconds * 1000 : 0)
}

/** The socket under a WebSocket. An injected upgrade has none, and with an extension, which compresses, only ws may write to it. */
function wireOf ({ extensions }: WebSocket, { raw }: FastifyRequest): Duplex | undefined {
  const wire: unknown = raw.socket
  return wire instanceof Duplex && extensions === '' ? wire : undefined
}

function clientOf (request: FastifyRequest): Client {
  // The connection holds no reference to the session: its data is not needed.
  const { userId, id } = request.session
  const prefixBits = request.server.hasDecorator('rateLimits') ? request.server.rateLimits.ipv6Subnet : undefined
  return { userId, device: userId === undefined ? undefined : id, address: clientKey(clientAddress(request), prefixBits) }
}

function sendClient (reply: FastifyReply, clientModule: string): FastifyReply {
  return reply.headers({ 'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'public, max-age=3600' }).send(clientModule)
}
