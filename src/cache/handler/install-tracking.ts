import type { InputTracker } from './input-tracker.ts'

type Target = Record<PropertyKey, unknown>

/** Under which a request or a reply bears its witness, and what its own properties hold, while it is watched. */
const tracking = Symbol('prism.witness')
const holding = Symbol('prism.holding')
type Watched = Target & { [tracking]?: InputTracker | undefined, [holding]?: Target | undefined }

/** What is watched, and what stands before its prototype meanwhile. */
interface Kind {
  readonly name: 'request' | 'reply'
  /** what the key holds, or what is the same for all: everything else counts as a reading */
  readonly free: ReadonlySet<PropertyKey>
  /** adds what is watched in a way of its own */
  readonly more: (cover: Target, prototype: Target) => void
  /** by the prototype that they stand before */
  readonly covers: WeakMap<object, object>
  /** what stands in the place of properties of its own, by their names */
  readonly standIns: Map<PropertyKey, PropertyDescriptor>
}

/** Free, though Fastify takes them from `raw`. */
const alwaysAllowed = ['method', 'signal', 'routeOptions'] as const

const requests: Kind = {
  name: 'request',
  free: new Set<PropertyKey>(['params', 'query', 'log', 'server', 'is404', 'additionalHeaders', 'constructor', 'headers', 'url', 'originalUrl', ...alwaysAllowed]),
  covers: new WeakMap(),
  standIns: new Map(),
  more: (cover, prototype) => {
    for (const key of alwaysAllowed) replace(cover, key, (tracker, request) => tracker.withoutTracking(() => Reflect.get(prototype, key, request) as unknown))
    for (const key of ['url', 'originalUrl']) replace(cover, key, (tracker) => tracker.covered.url)
    const fieldsOf = (request: Target) => Reflect.get(prototype, 'headers', request) as Record<string, string>
    replace(cover, 'headers', (tracker, request) => tracker.fields(() => fieldsOf(request)), (request, value) => Reflect.set(prototype, 'headers', value, request))
  }
}

const replies: Kind = {
  name: 'reply',
  free: new Set<PropertyKey>(['raw', 'request', 'log', 'server', 'routeOptions', 'sent', 'elapsedTime', 'statusCode', 'mediaType', 'constructor', 'cache']),
  covers: new WeakMap(),
  standIns: new Map(),
  more: (cover, prototype) => {
    for (const method of ['getHeader', 'hasHeader'] as const) {
      cover[method] = function (this: Watched, name: string) {
        this[tracking]?.noteLeft(name)
        return (prototype[method] as (name: string) => unknown).call(this, name)
      }
    }
    cover.getHeaders = function (this: Watched) {
      this[tracking]?.noteLeft()
      return (prototype.getHeaders as () => unknown).call(this)
    }
  }
}

/**
 * Has a witness note what is read of a request.
 *
 * What the object inherits is watched by a prototype that is put before its own, made once; what it holds itself, property by property.
 *
 * @returns leaves it as it was
 */
export function trackRequest (request: object, tracker: InputTracker): () => void {
  return watch(request as Target, tracker, requests)
}

/** The same for a reply: reading what hooks left there is reading what they read. */
export function trackReply (reply: object, tracker: InputTracker): () => void {
  return watch(reply as Target, tracker, replies)
}

/** The response knows its request: whoever goes that way reads it. */
export function watchRaw (raw: { req?: object }, tracker: InputTracker): () => void {
  const { req } = raw
  if (req === undefined || !Object.hasOwn(raw, 'req')) return () => {}
  const view = raw.req = new Proxy(req, new TrackingProxy(tracker))
  return () => { if (raw.req === view) raw.req = req }
}

function watch (target: Watched, tracker: InputTracker, kind: Kind): () => void {
  const prototype = Object.getPrototypeOf(target) as Target
  const held: Target = {}
  const own = watchOwn(target, tracker, kind, held)
  target[tracking] = tracker
  target[holding] = held
  Object.setPrototypeOf(target, coverOf(prototype, kind))
  return () => {
    Object.setPrototypeOf(target, prototype)
    target[tracking] = target[holding] = undefined
    // What was written meanwhile stays.
    for (const key of Reflect.ownKeys(held)) Object.defineProperty(target, key, { value: held[key], writable: true })
    for (const undo of own) undo()
  }
}

/** @param held is given what simple properties hold */
function watchOwn (target: Target, tracker: InputTracker, kind: Kind, held: Target): (() => void)[] {
  const { name, free } = kind
  const undo: (() => void)[] = name === 'request' ? watchValidation(target, tracker) : []
  for (const key of Reflect.ownKeys(target)) {
    // A GET has no body, unless a hook gave it one.
    if (free.has(key) || isOwnOf(key) || key === 'validationError' || (key === 'body' && target.body == null)) continue
    const descriptor = Object.getOwnPropertyDescriptor(target, key)
    if (descriptor?.configurable === true && descriptor.writable === true) replaceWithAccessor(target, key, kind, held)
    else watchOther(target, key, descriptor, tracker, undo, () => tracker.noteProperty(key, `${name}.${String(key)}`))
  }
  return undo
}

/** Takes the place of a simple property. What stands there is made once for all requests; what it holds stays with the request. */
function replaceWithAccessor (target: Target, key: PropertyKey, kind: Kind, held: Target): void {
  held[key] = target[key]
  Object.defineProperty(target, key, kind.standIns.get(key) ?? standInOf(key, kind))
}

function standInOf (key: PropertyKey, { name, standIns }: Kind): PropertyDescriptor {
  const text = `${name}.${String(key)}`
  const made: PropertyDescriptor = {
    get (this: Watched) {
      this[tracking]?.noteProperty(key, text)
      return this[holding]?.[key]
    },
    set (this: Watched, value: unknown) {
      const held = this[holding]
      if (held !== undefined) held[key] = value
    }
  }
  // An app may make a name for each request.
  if (standIns.size < mostRemembered) standIns.set(key, made)
  return made
}

function watchOther (target: Target, key: PropertyKey, descriptor: PropertyDescriptor | undefined, tracker: InputTracker, undo: (() => void)[], note: () => void): void {
  // What cannot be watched may be read at any time.
  if (descriptor?.configurable !== true) note()
  else undo.push('value' in descriptor ? watchValue(target, key, descriptor, note) : watchAccessor(target, key, descriptor, tracker, note))
}

/** What validation says, or has not to say, is a function of the key, unless it looked at fields. */
function watchValidation (request: Target, tracker: InputTracker): (() => void)[] {
  const { attachValidation, schema } = request.routeOptions as { attachValidation?: boolean, schema?: { headers?: unknown } }
  if (attachValidation !== true || schema?.headers === undefined) return []
  const own = Object.getOwnPropertyDescriptor(request, 'validationError')
  const note = () => tracker.note('request.validationError')
  if (own !== undefined) return [watchValue(request, 'validationError', own, note)]
  Object.defineProperty(request, 'validationError', { configurable: true, get: note })
  return [() => { delete request.validationError }]
}

function watchAccessor (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, tracker: InputTracker, note: () => void): () => void {
  const get = () => {
    note()
    return tracker.withoutTracking(() => descriptor.get?.call(target) as unknown)
  }
  Object.defineProperty(target, key, { ...descriptor, get })
  return () => Object.defineProperty(target, key, descriptor)
}

/** A property that holds a value: what is written to it meanwhile stays. */
function watchValue (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, note: () => void): () => void {
  let value = descriptor.value as unknown
  Object.defineProperty(target, key, {
    get: () => {
      note()
      return value
    },
    set: (next: unknown) => { value = next }
  })
  return () => Object.defineProperty(target, key, { value, writable: descriptor.writable ?? true })
}

function coverOf (prototype: Target, kind: Kind): object {
  const before = kind.covers.get(prototype)
  if (before !== undefined) return before
  const cover = Object.create(prototype) as Target
  for (const key of gettersOf(prototype)) {
    if (kind.free.has(key) || isOwnOf(key)) continue
    const name = `${kind.name}.${String(key)}`
    replace(cover, key, (tracker, target) => {
      tracker.noteProperty(key, name)
      return tracker.withoutTracking(() => Reflect.get(prototype, key, target) as unknown)
    }, (target, value) => Reflect.set(prototype, key, value, target))
  }
  kind.more(cover, prototype)
  kind.covers.set(prototype, cover)
  return cover
}

function replace (cover: Target, key: PropertyKey, get: (tracker: InputTracker, target: Target) => unknown, set?: (target: Target, value: unknown) => void): void {
  const prototype = Object.getPrototypeOf(cover) as object
  Object.defineProperty(cover, key, {
    get (this: Watched) {
      const tracker = this[tracking]
      return tracker === undefined ? Reflect.get(prototype, key, this) as unknown : get(tracker, this)
    },
    set: set && function (this: Watched, value: unknown) { set(this, value) }
  })
}

/** The getters that an object inherits: Fastify's, and those of decorators. */
function gettersOf (prototype: object): Set<PropertyKey> {
  const names = new Set<PropertyKey>()
  for (let level: object | null = prototype; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as object | null) {
    for (const key of Reflect.ownKeys(level)) if (Object.getOwnPropertyDescriptor(level, key)?.get !== undefined) names.add(key)
  }
  return names
}

const mostRemembered = 1000
const known = new Map<PropertyKey, boolean>()

/** Fastify's own bookkeeping, this package's, and that of @fastify/otel, which wraps each handler and reads its span there. */
function isOwnOf (key: PropertyKey): boolean {
  if (typeof key !== 'symbol') return false
  const before = known.get(key)
  if (before !== undefined) return before
  const isOwn = /^(?:(fastify|prism)\.|fastify otel )/.test(key.description ?? '')
  // An app may make a symbol for each request.
  if (known.size < mostRemembered) known.set(key, isOwn)
  return isOwn
}

/** Notes each look at what it stands for. */
class TrackingProxy implements ProxyHandler<object> {
  readonly #tracker: InputTracker

  constructor (tracker: InputTracker) {
    this.#tracker = tracker
  }

  get (target: object, key: PropertyKey): unknown {
    this.#note()
    return Reflect.get(target, key)
  }

  has (target: object, key: PropertyKey): boolean {
    this.#note()
    return Reflect.has(target, key)
  }

  ownKeys (target: object): (string | symbol)[] {
    this.#note()
    return Reflect.ownKeys(target)
  }

  getOwnPropertyDescriptor (target: object, key: PropertyKey): PropertyDescriptor | undefined {
    this.#note()
    return Reflect.getOwnPropertyDescriptor(target, key)
  }

  #note (): void {
    this.#tracker.noteProperty('req', 'reply.raw.req')
  }
}
