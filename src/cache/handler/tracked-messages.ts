import { EventEmitter } from 'node:events'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { isUnset } from './absent-inputs.ts'
import { isInternalSymbol } from './agent-marks.ts'
import { gettersOf } from './cover.ts'
import type { Kind, ReadListener, RequestFields, Target, View } from './read-listener.ts'
import { isReadByAgent, isReadByServer, isReadByStack } from './reader.ts'
import { slotKey } from './slot.ts'
import type { Tracked } from './slot.ts'
import { trackObject, trackValue } from './tracked-object.ts'

const pausing: View = (tracker, read) => tracker.withoutTracking(read)
/** The URL of the key, unless the handler has written another one, as for a framework that is mounted under a prefix. */
const keyedUrl: View = (tracker, read) => {
  const url = read()
  return tracker.isPaused || url !== tracker.covered.received ? url : tracker.covered.url
}
const pausedInLogs: View = (tracker, read) => tracker.log(read() as object)

/** The properties that the constructor of a Fastify request or reply sets, with those of decorators, and the symbols of Fastify and agents. */
function constructedBy (names: readonly string[]): (sample: Target) => readonly PropertyKey[] {
  const known = new WeakMap<object, readonly PropertyKey[]>()
  return (sample) => {
    const { constructor } = sample
    if (typeof constructor !== 'function') return names
    const before = known.get(constructor)
    if (before !== undefined) return before
    const { props = [] } = constructor as { props?: readonly { key: PropertyKey }[] }
    const keys = [...names, ...props.map(({ key }) => key), ...Object.getOwnPropertySymbols(sample).filter(isInternalSymbol)]
    known.set(constructor, keys)
    return keys
  }
}

/** Part of the key, or equal for all requests. A reference to `raw` is no input: reads through it are tracked. */
const freeOfRequest = new Set<PropertyKey>(['params', 'query', 'raw', 'server', 'is404', 'additionalHeaders', 'constructor', 'validationError'])

export const requests: Kind = {
  name: 'request',
  // A GET has no body, unless a hook set one.
  isFree: (key, target) => freeOfRequest.has(key) || isInternalSymbol(key) || (key === 'body' && target.body == null) || (key === 'ws' && isNoUpgrade(target)),
  views: new Map<PropertyKey, View>([
    // Fastify's getters read `raw`.
    ['method', pausing], ['signal', pausing], ['routeOptions', pausing], ['url', keyedUrl], ['log', pausedInLogs],
    ['originalUrl', (tracker, read, request) => originalUrl(tracker, read, () => (request.raw as Target).url)],
    ['headers', (tracker, read) => tracker.fields(read as () => RequestFields, 'request')],
    ['cookies', (tracker, read) => {
      if (!tracker.isPaused && !isReadByAgent()) tracker.noteProperty('cookies', 'request.cookies')
      return tracker.withoutTracking(read)
    }]
  ]),
  hasClass: () => true,
  accessors: new Set(['id', 'log']),
  constructed: constructedBy(['id', 'params', 'raw', 'query', 'log', 'body']),
  missing: ['additionalHeaders'],
  freeByValue: ['body', 'ws'],
  movesOthers: true,
  covers: new WeakMap(),
  replaced: new Map()
}

/** Whether `request.ws` is what @fastify/websocket sets for every request that is no upgrade, or is missing without it. Upgrades are never cached. */
function isNoUpgrade (request: Target): boolean {
  if (request.ws === undefined) return true
  return request.ws === false && (request.server as { hasPlugin (name: string): boolean }).hasPlugin('@fastify/websocket')
}

const freeOfReply = new Set<PropertyKey>(['raw', 'request', 'server', 'routeOptions', 'sent', 'elapsedTime', 'statusCode', 'mediaType', 'constructor', 'cache', 'send'])

export const replies: Kind = {
  name: 'reply',
  isFree: (key, target) => freeOfReply.has(key) || isInternalSymbol(key) || isFreeValue(key, target),
  views: new Map<PropertyKey, View>([
    ['sent', (tracker, read) => {
      // Fastify's `send` reads it first, whatever wrappers have called it.
      tracker.payloadSent()
      return tracker.withoutTracking(read)
    }],
    ['log', pausedInLogs]
  ]),
  hasClass: () => true,
  accessors: new Set(['log']),
  constructed: constructedBy(['raw', 'request', 'log']),
  freeByValue: ['locals', 'compress'],
  movesOthers: true,
  covers: new WeakMap(),
  replaced: new Map(),
  addMethods: (cover, prototype) => {
    coverHeaders(cover, prototype, ['getHeaders'])
  }
}

/** Methods that read the headers that hooks and middleware have set. */
function coverHeaders (cover: Target, prototype: Target, ofAll: readonly string[]): void {
  for (const method of ['getHeader', 'hasHeader'] as const) {
    const original = prototype[method] as (name: string) => unknown
    const isHidden = (target: Tracked, tracker: ReadListener, name: string) => tracker.hidesHeader(name, () => (prototype.getHeader as (name: string) => unknown).call(target, name))
    const readHeader = function (this: Tracked, name: string) {
      const tracker = this[slotKey]?.tracker
      if (tracker !== undefined && isHidden(this, tracker, name)) return method === 'getHeader' ? undefined : false
      return original.call(this, name)
    }
    cover[method] = readHeader
  }
  for (const method of ofAll) {
    const readHeaders = function (this: Tracked) {
      this[slotKey]?.tracker?.noteHeaders()
      return (prototype[method] as () => unknown).call(this)
    }
    if (method in prototype) cover[method] = readHeaders
  }
}

/** Whether the value of an own property of a reply says nothing of the request: what a plugin sets for every request. */
function isFreeValue (key: PropertyKey, reply: Target): boolean {
  if (key === 'locals') return isUnset(reply.locals)
  return key === 'compress' && (reply.request as { server?: { hasPlugin (name: string): boolean } } | undefined)?.server?.hasPlugin('@fastify/compress') === true
}

/** Inputs of a raw message. Its other properties of Node are the state of a stream. */
const inputsOfRaw = new Set<PropertyKey>([
  'url', 'originalUrl', 'headers', 'headersDistinct', 'rawHeaders', 'trailers', 'trailersDistinct', 'socket', 'connection', 'client', 'stream', 'authority', 'scheme',
  'httpVersion', 'httpVersionMajor', 'httpVersionMinor'
])
/** Agents replace them on a message, to keep the context of listeners. */
const emitterMethods = new Set<PropertyKey>(Reflect.ownKeys(EventEmitter.prototype))
/** The properties of messages of Node and of `inject`. */
const ofNode = new Set<PropertyKey>([
  ...emitterMethods,
  ...Reflect.ownKeys(new IncomingMessage(null as unknown as Socket)), ...gettersOf(IncomingMessage.prototype), ...gettersOf(Http2ServerRequest.prototype),
  '_eventsCount', '_read', 'isLightMyRequest', '_lightMyRequest'
])
/** Symbols under which Node keeps the state of a HTTP/2 request. */
const ofHttp2 = new Set(['state', 'trailers', 'rawTrailers', 'stream', 'aborted'])
/** Symbols under which Node keeps the headers of a message. Copies of the message have them: `{ ...request.raw }`, `inspect` with `customInspect: false`. */
const headerSymbols = new Set(['kHeaders', 'kHeadersDistinct', 'headers', 'rawHeaders'])
const isHeaderSymbol = (key: PropertyKey) => typeof key === 'symbol' && headerSymbols.has(key.description ?? '')
/** Methods of a raw message that Node calls, and that read its socket. */
const methodsOfNode = ['_read', '_destroy', '_dump', '_dumpAndCloseReadable', 'destroy', 'setTimeout']

const constructedOfRaw = Reflect.ownKeys(new IncomingMessage(null as unknown as Socket))

export const raws: Kind = {
  name: 'request.raw',
  isFree: (key, target) => (ofNode.has(key) && !inputsOfRaw.has(key) && !isHeaderSymbol(key)) || isInternalSymbol(key) || (typeof key === 'symbol' && target instanceof Http2ServerRequest && ofHttp2.has(key.description ?? '')),
  // What middleware has put on the message is as what hooks have put on the request.
  report: (tracker, key, name) => {
    const isHeaders = isHeaderSymbol(key)
    if (isHeaders && isReadByServer()) return
    tracker.noteProperty(isHeaders || inputsOfRaw.has(key) ? 'raw' : name, name)
  },
  views: new Map<PropertyKey, View>([
    ['url', keyedUrl], ['signal', pausing],
    ['originalUrl', (tracker, read, raw) => originalUrl(tracker, read, () => raw.url)],
    ['headers', (tracker, read) => tracker.fields(read as () => RequestFields, 'raw')],
    ['socket', socketOf('request.raw.socket')]
  ]),
  hasClass: (target) => target instanceof IncomingMessage,
  staysReplaced: new Set(constructedOfRaw),
  constructed: () => constructedOfRaw,
  missing: ['_construct', '_writableState', 'writable'],
  freeByValue: [],
  movesOthers: false,
  covers: new WeakMap(),
  replaced: new Map(),
  addMethods: (cover, prototype) => {
    // A message of `inject` lacks some of them; a request over the network has them.
    for (const key of inputsOfRaw) if (!raws.views.has(key) && !(key in prototype)) Object.defineProperty(cover, key, absentInput(String(key)))
    for (const name of methodsOfNode) {
      const method = prototype[name]
      if (typeof method !== 'function') continue
      cover[name] = callUntracked(method as (...given: unknown[]) => unknown)
    }
  }
}

function callUntracked (method: (...given: unknown[]) => unknown): (...given: unknown[]) => unknown {
  return function (this: Tracked, ...given: unknown[]) {
    const tracker = this[slotKey]?.tracker
    return tracker === undefined ? Reflect.apply(method, this, given) : tracker.withoutTracking(() => Reflect.apply(method, this, given) as unknown)
  }
}

const constructedOfResponse = new Set<PropertyKey>(Reflect.ownKeys(new ServerResponse({ method: 'GET' } as IncomingMessage)))
const gettersOfResponse = gettersOf(ServerResponse.prototype)
/** Properties that Node or `inject` adds to a response, or that the cache sets. */
const addedToResponse = new Set<PropertyKey>(['writeHead', '_eventsCount', 'statusMessage', 'statusCode', '_onPendingData', '_maxRequestsPerSocket', 'maxRequestsOnConnectionReached', '_expect_continue', '_sent100', '_lightMyRequest', '_promiseCallback', 'stream'])

export const responses: Kind = {
  name: 'reply.raw',
  isFree: (key) => (key !== 'socket' && key !== 'connection' && (constructedOfResponse.has(key) || emitterMethods.has(key) || gettersOfResponse.has(key) || addedToResponse.has(key) || (typeof key === 'symbol' && key.description === 'kUniqueHeaders'))) || isInternalSymbol(key),
  report: (tracker, key, name) => tracker.noteProperty(key === 'socket' || key === 'connection' ? 'raw' : name, name),
  views: new Map<PropertyKey, View>([['socket', socketOf('reply.raw.socket')], ['connection', socketOf('reply.raw.connection')]]),
  hasClass: () => true,
  staysReplaced: new Set(['socket']),
  constructed: () => [...constructedOfResponse, ...addedToResponse],
  missing: ['httpValidation', 'insecureHTTPParser'],
  freeByValue: [],
  movesOthers: false,
  covers: new WeakMap(),
  replaced: new Map(),
  addMethods: (cover, prototype) => {
    coverHeaders(cover, prototype, ['getHeaders', 'getHeaderNames', 'getRawHeaderNames'])
  }
}

const constructedOfHttp2Response = new Set<PropertyKey>(Reflect.ownKeys(new Http2ServerResponse(new PassThrough() as unknown as ServerHttp2Stream)))
const gettersOfHttp2Response = gettersOf(Http2ServerResponse.prototype)
/** Getters through which the connection can be reached. */
const connectionsOfHttp2 = new Set<PropertyKey>(['socket', 'connection', 'stream'])

/** A response over HTTP/2. Its headers, as those over HTTP/1, may have been set by hooks. */
export const http2Responses: Kind = {
  ...responses,
  isFree: (key, target) => !connectionsOfHttp2.has(key) && (constructedOfHttp2Response.has(key) || gettersOfHttp2Response.has(key) || responses.isFree(key, target)),
  report: (tracker, key, name) => tracker.noteProperty(connectionsOfHttp2.has(key) ? 'raw' : name, name),
  views: new Map([...connectionsOfHttp2].map((key) => [key, socketOf(`reply.raw.${String(key)}`, isReadByStack)])),
  hasClass: () => false,
  staysReplaced: new Set(),
  constructed: () => [...constructedOfHttp2Response],
  missing: [],
  covers: new WeakMap(),
  replaced: new Map()
}

function socketOf (name: string, isOurs: () => boolean = isReadByServer): View {
  return (tracker, read) => {
    if (!tracker.isPaused && !isOurs()) tracker.noteProperty('raw', name)
    return tracker.withoutTracking(read)
  }
}

function absentInput (key: string): PropertyDescriptor {
  return {
    configurable: true,
    get (this: Tracked) { this[slotKey]?.tracker?.noteProperty('raw', `request.raw.${key}`) },
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

/** The messages of one request. */
export interface Messages { readonly request: object, readonly reply: object, readonly raw: object, readonly response: object }

/** Tracks a request, its reply, and their raw messages. @returns restores what has own properties to be restored */
export function trackMessages ({ request, reply, raw, response }: Messages, tracker: ReadListener): (() => void)[] {
  const undo = [
    response instanceof ServerResponse ? trackObject(response as unknown as Target, tracker, responses) : undefined,
    response instanceof Http2ServerResponse ? trackObject(response as unknown as Target, tracker, http2Responses) : undefined,
    trackObject(reply as Target, tracker, replies),
    trackObject(request as Target, tracker, requests),
    trackObject(raw as Target, tracker, raws)
  ]
  return undo.filter((each) => each !== undefined)
}

/** Tracks `request.validationError` of a route that validates headers. @returns restores it */
export function trackValidationError (request: Target, tracker: ReadListener): () => void {
  const own = Object.getOwnPropertyDescriptor(request, 'validationError')
  const note = () => tracker.note('request.validationError')
  if (own !== undefined) return trackValue(request, 'validationError', own, note)
  Object.defineProperty(request, 'validationError', { configurable: true, get: note })
  return () => { delete request.validationError }
}
