import { once } from 'node:events'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { ClientOptions } from 'ws'
import events from '../../plugins/events.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import live from '../../plugins/live.ts'
import type { LiveOptions } from '../../plugins/live.ts'
import problems from '../../service/plugins/problems.ts'
import redis from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import { commandTimeout as patientTimeout } from './deadline.ts'
import { signIn } from './signed-in-users.ts'
import { reached } from './wait-for-redis.ts'
import { until } from './until.ts'

/** Sessions, events and live connections, at a port. */
export interface LiveApp {
  app: FastifyInstance
  port: number
  /** `http://127.0.0.1:<port>` */
  url: string
  /** Signs a user in. @returns the cookie */
  signIn (user: string): Promise<string>
}

/** Starts live connections and what they need on a Redis, and routes to sign in and out. */
export async function startLive (t: Test, redisUrl: string, options: LiveOptions = {}, commandTimeout = patientTimeout): Promise<LiveApp> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(problems)
  await app.register(redis, { url: redisUrl, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(session, { secrets: ['a secret of the tests: 32 or more'] })
  await app.register(events, {})
  await app.register(live, options)
  app.post<{ Params: { user: string } }>('/sign-in/:user', async (request) => {
    await request.session.signIn(request.params.user)
    return {}
  })
  app.delete('/session', async (request) => {
    await request.session.signOut()
    return {}
  })
  t.after(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const [address] = app.addresses()
  const port = typeof address === 'object' ? address.port : 0
  return {
    app,
    port,
    url: `http://127.0.0.1:${port}`,
    signIn: async (user) => {
      await reached(app)
      return await signIn(app, user)
    }
  }
}

/** A frame of the server, with the fields that tests use. */
export interface Frame {
  type: string
  topic?: string
  id?: string
  code?: string
  event?: { id?: string, type: string, data?: unknown }
}

/** An independent WebSocket client (`ws`) and its received frames. */
export interface LiveClient {
  socket: WebSocket
  frames: Frame[]
  closed: Promise<number>
  say (frame: unknown): void
  /** Waits for the next matching frame that was not yet returned. */
  next (type: string): Promise<Frame>
}

/** Connects to `/live`, by default with the app's own origin. */
export async function openLive ({ port, url }: Pick<LiveApp, 'port' | 'url'>, { headers = {}, ...options }: ClientOptions = {}): Promise<LiveClient> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/live`, { headers: { origin: url, ...headers }, ...options })
  const client = followSocket(socket)
  await once(socket, 'open')
  return client
}

/** Collects the frames of a socket. */
export function followSocket (socket: WebSocket): LiveClient {
  const frames: Frame[] = []
  const seen = new Set<Frame>()
  socket.on('message', (data) => frames.push(JSON.parse(data.toString())))
  socket.on('error', () => {}) // the close event reports it
  return {
    socket,
    frames,
    closed: new Promise((resolve) => socket.once('close', resolve)),
    say: (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    next: async (type) => {
      const frame = await until(() => frames.find((each) => each.type === type && !seen.has(each)), { what: `a frame ${type}` })
      seen.add(frame)
      return frame
    }
  }
}

/** The status of a rejected upgrade, or 101. */
export async function statusOfUpgrade ({ port }: Pick<LiveApp, 'port'>, options: ClientOptions = {}): Promise<number> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/live`, options)
  return await new Promise((resolve, reject) => {
    socket.once('unexpected-response', (_request, response) => { resolve(response.statusCode ?? 0); socket.terminate() })
    socket.once('open', () => { resolve(101); socket.terminate() })
    socket.on('error', reject)
  })
}
