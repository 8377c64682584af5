import { IncomingMessage } from 'node:http'
import { Http2ServerRequest } from 'node:http2'
import type { Socket } from 'node:net'
import { isUnset } from './absent-inputs.ts'
import { isAgentWrapper, isInternalSymbol } from './agent-marks.ts'
import { gettersOf, trackObject, tracking, trackValue } from './tracked-object.ts'
import type { Tracked } from './tracked-object.ts'
import type { Kind, ReadListener, RequestFields, Target, View } from './read-listener.ts'
import { isReadByAgent, isReadByServer } from './reader.ts'

const pausing: View = (tracker, read) => tracker.withoutTracking(read)
const keyedUrl: View = (tracker, read) => tracker.isPaused ? read() : tracker.covered.url

/** Part of the key, or equal for all requests. A reference to `raw` is no input: reads through it are tracked. */
const freeOfRequest = new Set<PropertyKey>(['params', 'query', 'raw', 'log', 'server', 'is404', 'additionalHeaders', 'constructor', 'validationError'])

const requests: Kind = {
  name: 'request',
  // A GET has no body, unless a hook set one.
  isFree: (key, target) => freeOfRequest.has(key) || isInternalSymbol(key) || (key === 'body' && target.body == null) || (key === 'ws' && isNoUpgrade(target)),
  views: new Map<PropertyKey, View>([
    // Fastify's getters read `raw`.
    ['method', pausing], ['signal', pausing], ['routeOptions', pausing], ['url', keyedUrl],
    ['originalUrl', (tracker, read, request) => originalUrl(tracker, read, () => (request.raw as Target).url)],
    ['headers', (tracker, read) => tracker.fields(read as () => RequestFields, 'request')],
    ['cookies', (tracker, read) => {
      if (!tracker.isPaused && !isReadByAgent()) tracker.noteProperty('cookies', 'request.cookies')
      return tracker.withoutTracking(read)
    }]
  ]),
  prototypes: new WeakMap(),
  accessors: new Map()
}

/** Whether `request.ws` is what @fastify/websocket sets for every request that is no upgrade, or is missing without it. Upgrades are never cached. */
function isNoUpgrade (request: Target): boolean {
  if (request.ws === undefined) return true
  return request.ws === false && (request.server as { hasPlugin (name: string): boolean }).hasPlugin('@fastify/websocket')
}

const freeOfReply = new Set<PropertyKey>(['raw', 'request', 'log', 'server', 'routeOptions', 'sent', 'elapsedTime', 'statusCode', 'mediaType', 'constructor', 'cache'])

const replies: Kind = {
  name: 'reply',
  isFree: (key, target) => freeOfReply.has(key) || isInternalSymbol(key) || isFreeValue(key, target),
  views: new Map(),
  prototypes: new WeakMap(),
  accessors: new Map(),
  addMethods: (cover, prototype) => {
    for (const method of ['getHeader', 'hasHeader'] as const) {
      const readHeader = function (this: Tracked, name: string) {
        const read = (as: string) => (prototype[as] as (name: string) => unknown).call(this, name)
        if (this[tracking]?.hidesHeader(name, () => read('getHeader')) === true) return method === 'getHeader' ? undefined : false
        return read(method)
      }
      cover[method] = readHeader
    }
    const getHeaders = function (this: Tracked) {
      this[tracking]?.noteHeaders()
      return (prototype.getHeaders as () => unknown).call(this)
    }
    cover.getHeaders = getHeaders
  }
}

/** Whether the value of an own property of a reply says nothing of the request: an agent's wrapper, or what a plugin sets for every request. */
function isFreeValue (key: PropertyKey, reply: Target): boolean {
  if (key === 'send') return Object.hasOwn(reply, key) && isAgentWrapper(reply.send, (Object.getPrototypeOf(reply) as Target).send)
  if (key === 'locals') return isUnset(reply.locals)
  return key === 'compress' && (reply.request as { server?: { hasPlugin (name: string): boolean } } | undefined)?.server?.hasPlugin('@fastify/compress') === true
}

/** Inputs of a raw message. Its other properties of Node are the state of a stream. */
const inputsOfRaw = new Set<PropertyKey>([
  'url', 'originalUrl', 'headers', 'headersDistinct', 'rawHeaders', 'trailers', 'trailersDistinct', 'rawTrailers', 'socket', 'connection', 'client', 'stream', 'authority', 'scheme',
  'httpVersion', 'httpVersionMajor', 'httpVersionMinor'
])
/** The properties of messages of Node and of `inject`. */
const ofNode = new Set<PropertyKey>([
  ...Reflect.ownKeys(new IncomingMessage(null as unknown as Socket)), ...gettersOf(IncomingMessage.prototype), ...gettersOf(Http2ServerRequest.prototype),
  '_eventsCount', '_read', 'isLightMyRequest', '_lightMyRequest'
])
/** Symbols under which Node keeps the state of a HTTP/2 request. */
const ofHttp2 = new Set(['state', 'headers', 'rawHeaders', 'trailers', 'rawTrailers', 'stream', 'aborted'])
/** Methods of a raw message that Node calls, and that read its socket. */
const methodsOfNode = ['_read', '_destroy', '_dump', '_dumpAndCloseReadable', 'destroy', 'setTimeout']

const raws: Kind = {
  name: 'request.raw',
  isFree: (key, target) => (ofNode.has(key) && !inputsOfRaw.has(key)) || isInternalSymbol(key) || (typeof key === 'symbol' && target instanceof Http2ServerRequest && ofHttp2.has(key.description ?? '')),
  // What middleware has put on the message is as what hooks have put on the request.
  report: (tracker, key, name) => tracker.noteProperty(inputsOfRaw.has(key) ? 'raw' : name, name),
  views: new Map<PropertyKey, View>([
    ['url', keyedUrl], ['signal', pausing],
    ['originalUrl', (tracker, read, raw) => originalUrl(tracker, read, () => raw.url)],
    ['headers', (tracker, read) => tracker.fields(read as () => RequestFields, 'raw')],
    ['socket', (tracker, read) => {
      if (!tracker.isPaused && !isReadByServer()) tracker.noteProperty('raw', 'request.raw.socket')
      return tracker.withoutTracking(read)
    }]
  ]),
  prototypes: new WeakMap(),
  accessors: new Map(),
  addMethods: (cover, prototype) => {
    // A message of `inject` lacks some of them; a request over the network has them.
    for (const key of inputsOfRaw) if (!raws.views.has(key) && !(key in prototype)) Object.defineProperty(cover, key, absentInput(String(key)))
    for (const name of methodsOfNode) {
      const method = prototype[name]
      if (typeof method !== 'function') continue
      const callUntracked = function (this: Tracked, ...given: unknown[]) {
        const call = () => Reflect.apply(method, this, given) as unknown
        return this[tracking] === undefined ? call() : this[tracking].withoutTracking(call)
      }
      cover[name] = callUntracked
    }
  }
}

function absentInput (key: string): PropertyDescriptor {
  return {
    get (this: Tracked) { this[tracking]?.noteProperty('raw', `request.raw.${key}`) },
    set (this: Tracked, value: unknown) { Object.defineProperty(this, key, { value, configurable: true, enumerable: true, writable: true }) }
  }
}

/** The URL before `rewriteUrl`, which may depend on any input. */
function originalUrl (tracker: ReadListener, read: () => unknown, url: () => unknown): unknown {
  const { original, isRewritten } = tracker.withoutTracking(() => ({ original: read(), isRewritten: read() !== url() }))
  if (!isRewritten) return tracker.isPaused ? original : tracker.covered.url
  tracker.note('request.originalUrl')
  return original
}

/** Tracks a request, its raw message and the headers in both. @returns restores them */
export function trackRequest (request: object, tracker: ReadListener): () => void {
  const undo = trackObject(request as Target, tracker, requests)
  const undoValidation = watchValidation(request as Target, tracker)
  const undoRaw = trackObject((request as { raw: Target }).raw, tracker, raws)
  return () => {
    undo()
    undoValidation?.()
    undoRaw()
  }
}

/** The same for a reply: headers that hooks have set may depend on any input. */
export function trackReply (reply: object, tracker: ReadListener): () => void {
  return trackObject(reply as Target, tracker, replies)
}

/** The result of validation is a function of the key, unless headers were validated. */
function watchValidation (request: Target, tracker: ReadListener): (() => void) | undefined {
  const { attachValidation, schema } = tracker.withoutTracking(() => request.routeOptions) as { attachValidation?: boolean, schema?: { headers?: unknown } }
  if (attachValidation !== true || schema?.headers === undefined) return undefined
  const own = Object.getOwnPropertyDescriptor(request, 'validationError')
  const note = () => tracker.note('request.validationError')
  if (own !== undefined) return trackValue(request, 'validationError', own, note)
  Object.defineProperty(request, 'validationError', { configurable: true, get: note })
  return () => { delete request.validationError }
}
