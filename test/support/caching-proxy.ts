import { Agent, request as httpRequest } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, InformationEvent } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { CacheChoice } from '../../plugins/cache.ts'
import { cachingApp } from './caching.ts'
import type { CachingOptions } from './caching.ts'
import type { Owner } from './cleanup-scope.ts'

/** The origin of a proxy, and further options of its route. */
export interface CachingProxyOptions extends CachingOptions {
  /** `http://127.0.0.1:8000` */
  origin: string
  /** in addition to `ttl: 'response'` */
  route?: Exclude<CacheChoice, boolean>
}

/** Connection-specific fields; their cache directives are read before they are removed. */
const ofOneConnection = new Set(['transfer-encoding', 'keep-alive', 'content-length'])

/**
 * A proxy in front of an origin: every method and path is forwarded, and `ttl: 'response'` lets the origin's fields decide about storing.
 *
 * Not listening; closed with its owner.
 */
export async function cachingProxy (owner: Owner, { origin, route, ...options }: CachingProxyOptions): Promise<FastifyInstance> {
  const app = await cachingApp(owner, options)
  const agent = new Agent() // one connection each: an idle one that the origin closes would look like an aborted response
  owner.after(() => agent.destroy())
  app.addHttpMethod('M-SEARCH', { hasBody: true })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  app.all('/*', { config: { cache: { ...route, ttl: 'response' } } }, (request, reply) => handOn(origin, agent, request, reply))
  return app
}

async function handOn (origin: string, agent: Agent, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const response = await fetchFrom(origin, agent, request, reply)
  reply.code(response.statusCode ?? 502)
  for (const [name, values] of linesOf(response)) if (!ofOneConnection.has(name)) reply.header(name, values.length === 1 ? values[0] : values)
  return reply.send(await bodyOf(response))
}

function fetchFrom (origin: string, agent: Agent, request: FastifyRequest, reply: FastifyReply): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers: IncomingHttpHeaders = { ...request.headers }
    delete headers.connection
    const outgoing = httpRequest(origin + request.url, { method: request.method, headers, agent }, resolve)
    outgoing.on('error', reject)
    outgoing.on('information', ({ statusCode, headers }: InformationEvent) => { sendInformation(reply, statusCode, headers) })
    if (isStream(request.body)) request.body.pipe(outgoing)
    else outgoing.end()
  })
}

/** Hands an interim response on (RFC 9110 section 15.2). */
function sendInformation (reply: FastifyReply, status: number, { link = [], ...fields }: IncomingHttpHeaders): void {
  if (status === 102) reply.raw.writeProcessing()
  if (status === 103) reply.raw.writeEarlyHints({ link, ...fields } as Record<string, string | string[]>)
}

function isStream (body: unknown): body is NodeJS.ReadableStream {
  return typeof body === 'object' && body !== null && 'pipe' in body
}

/** All lines of each field: node's own record drops some that come twice. */
function linesOf ({ rawHeaders }: IncomingMessage): Map<string, string[]> {
  const lines = new Map<string, string[]>()
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase()
    lines.set(name, [...lines.get(name) ?? [], rawHeaders[index + 1] ?? ''])
  }
  return lines
}

async function bodyOf (response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
