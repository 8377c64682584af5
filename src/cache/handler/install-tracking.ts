/** Receives each tracked read of a request or reply. */
export interface ReadListener {
  readonly covered: { readonly url: string }
  note (what: string): void
  noteProperty (key: PropertyKey, name: string): void
  /** @param name a reply header; undefined: all of them */
  noteLeft (name?: string): void
  /** the request headers that the handler may see */
  fields (read: () => Record<string, string | string[] | undefined>): Record<string, string | string[] | undefined>
  /** reads without reporting the reads */
  withoutTracking<Value> (read: () => Value): Value
}

type Target = Record<PropertyKey, unknown>

/** Symbol properties of a tracked request or reply: its listener, and the values of its own properties. */
const tracking = Symbol('prism.tracking')
const holding = Symbol('prism.holding')
type Tracked = Target & { [tracking]?: ReadListener | undefined, [holding]?: Target | undefined }

/** How objects of one kind are tracked. */
interface Kind {
  readonly name: 'request' | 'reply'
  /** properties that are part of the key or equal for all requests; the read of any other is reported */
  readonly free: ReadonlySet<PropertyKey>
  /** adds properties that need special handling */
  readonly more: (cover: Target, prototype: Target) => void
  /** tracking prototypes, by the original prototype */
  readonly prototypes: WeakMap<object, object>
  /** accessors that replace own properties, by name */
  readonly accessors: Map<PropertyKey, PropertyDescriptor>
}

/** Not reported, although Fastify's getters read `raw`. */
const alwaysAllowed = ['method', 'signal', 'routeOptions'] as const

const requests: Kind = {
  name: 'request',
  free: new Set<PropertyKey>(['params', 'query', 'log', 'server', 'is404', 'additionalHeaders', 'constructor', 'headers', 'url', 'originalUrl', ...alwaysAllowed]),
  prototypes: new WeakMap(),
  accessors: new Map(),
  more: (cover, prototype) => {
    for (const key of alwaysAllowed) replace(cover, key, (tracker, request) => tracker.withoutTracking(() => Reflect.get(prototype, key, request) as unknown))
    replace(cover, 'url', (tracker) => tracker.covered.url)
    replace(cover, 'originalUrl', (tracker, request) => {
      const { originalUrl } = tracker.withoutTracking(() => request.raw) as { originalUrl?: string }
      // The URL before `rewriteUrl`: several of them may have one key.
      if (originalUrl !== undefined) tracker.note('request.originalUrl')
      return originalUrl ?? tracker.covered.url
    })
    const fieldsOf = (request: Target) => Reflect.get(prototype, 'headers', request) as Record<string, string>
    replace(cover, 'headers', (tracker, request) => tracker.fields(() => fieldsOf(request)), (request, value) => Reflect.set(prototype, 'headers', value, request))
  }
}

const replies: Kind = {
  name: 'reply',
  free: new Set<PropertyKey>(['raw', 'request', 'log', 'server', 'routeOptions', 'sent', 'elapsedTime', 'statusCode', 'mediaType', 'constructor', 'cache']),
  prototypes: new WeakMap(),
  accessors: new Map(),
  more: (cover, prototype) => {
    for (const method of ['getHeader', 'hasHeader'] as const) {
      cover[method] = function (this: Tracked, name: string) {
        this[tracking]?.noteLeft(name)
        return (prototype[method] as (name: string) => unknown).call(this, name)
      }
    }
    cover.getHeaders = function (this: Tracked) {
      this[tracking]?.noteLeft()
      return (prototype.getHeaders as () => unknown).call(this)
    }
  }
}

/**
 * Reports reads of a request to a listener.
 *
 * Inherited getters are tracked by a prototype that is inserted before the original one and made once; own properties are replaced one by one.
 *
 * @returns restores the object
 */
export function trackRequest (request: object, tracker: ReadListener): () => void {
  return watch(request as Target, tracker, requests)
}

/** The same for a reply: headers that hooks have set may depend on any input. */
export function trackReply (reply: object, tracker: ReadListener): () => void {
  return watch(reply as Target, tracker, replies)
}

/** Tracks `reply.raw.req`, which gives access to the raw request. */
export function trackRaw (raw: { req?: object }, tracker: ReadListener): () => void {
  const { req } = raw
  if (req === undefined || !Object.hasOwn(raw, 'req')) return () => {}
  const view = raw.req = new Proxy(req, new TrackingProxy(tracker))
  return () => { if (raw.req === view) raw.req = req }
}

function watch (target: Tracked, tracker: ReadListener, kind: Kind): () => void {
  const prototype = Object.getPrototypeOf(target) as Target
  const held: Target = {}
  const own = trackOwnProperties(target, tracker, kind, held)
  target[tracking] = tracker
  target[holding] = held
  Object.setPrototypeOf(target, trackingPrototypeOf(prototype, kind))
  return () => {
    Object.setPrototypeOf(target, prototype)
    target[tracking] = target[holding] = undefined
    // Preserve values that were written during tracking.
    for (const key of Reflect.ownKeys(held)) Object.defineProperty(target, key, { value: held[key], writable: true })
    for (const undo of own) undo()
  }
}

/** @param held receives the values of plain properties */
function trackOwnProperties (target: Target, tracker: ReadListener, kind: Kind, held: Target): (() => void)[] {
  const { name, free } = kind
  const undo: (() => void)[] = name === 'request' ? watchValidation(target, tracker) : []
  for (const key of Reflect.ownKeys(target)) {
    // A GET has no body, unless a hook set one.
    if (free.has(key) || isInternal(key) || key === 'validationError' || (key === 'body' && target.body == null)) continue
    const descriptor = Object.getOwnPropertyDescriptor(target, key)
    if (descriptor?.configurable === true && descriptor.writable === true) replaceWithAccessor(target, key, kind, held)
    else trackOther(target, key, descriptor, tracker, undo, () => tracker.noteProperty(key, `${name}.${String(key)}`))
  }
  return undo
}

/** Replaces a plain property by an accessor. The accessor is shared by all requests; the value is stored on the request. */
function replaceWithAccessor (target: Target, key: PropertyKey, kind: Kind, held: Target): void {
  held[key] = target[key]
  Object.defineProperty(target, key, kind.accessors.get(key) ?? accessorOf(key, kind))
}

function accessorOf (key: PropertyKey, { name, accessors }: Kind): PropertyDescriptor {
  const text = `${name}.${String(key)}`
  const made: PropertyDescriptor = {
    get (this: Tracked) {
      this[tracking]?.noteProperty(key, text)
      return this[holding]?.[key]
    },
    set (this: Tracked, value: unknown) {
      const held = this[holding]
      if (held !== undefined) held[key] = value
    }
  }
  // Bounded, because an app may use a new property name for each request.
  if (accessors.size < maxRemembered) accessors.set(key, made)
  return made
}

function trackOther (target: Target, key: PropertyKey, descriptor: PropertyDescriptor | undefined, tracker: ReadListener, undo: (() => void)[], note: () => void): void {
  // A property that cannot be replaced counts as read.
  if (descriptor?.configurable !== true) note()
  else undo.push('value' in descriptor ? trackValue(target, key, descriptor, note) : trackAccessor(target, key, descriptor, tracker, note))
}

/** What validation says, or has not to say, is a function of the key, unless it looked at fields. */
function watchValidation (request: Target, tracker: ReadListener): (() => void)[] {
  const { attachValidation, schema } = request.routeOptions as { attachValidation?: boolean, schema?: { headers?: unknown } }
  if (attachValidation !== true || schema?.headers === undefined) return []
  const own = Object.getOwnPropertyDescriptor(request, 'validationError')
  const note = () => tracker.note('request.validationError')
  if (own !== undefined) return [trackValue(request, 'validationError', own, note)]
  Object.defineProperty(request, 'validationError', { configurable: true, get: note })
  return [() => { delete request.validationError }]
}

function trackAccessor (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, tracker: ReadListener, note: () => void): () => void {
  const get = () => {
    note()
    return tracker.withoutTracking(() => descriptor.get?.call(target) as unknown)
  }
  Object.defineProperty(target, key, { ...descriptor, get })
  return () => Object.defineProperty(target, key, descriptor)
}

/** Tracks a data property; values written during tracking are preserved. */
function trackValue (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, note: () => void): () => void {
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

function trackingPrototypeOf (prototype: Target, kind: Kind): object {
  const before = kind.prototypes.get(prototype)
  if (before !== undefined) return before
  const cover = Object.create(prototype) as Target
  for (const key of gettersOf(prototype)) {
    if (kind.free.has(key) || isInternal(key)) continue
    const name = `${kind.name}.${String(key)}`
    replace(cover, key, (tracker, target) => {
      tracker.noteProperty(key, name)
      return tracker.withoutTracking(() => Reflect.get(prototype, key, target) as unknown)
    }, (target, value) => Reflect.set(prototype, key, value, target))
  }
  kind.more(cover, prototype)
  kind.prototypes.set(prototype, cover)
  return cover
}

function replace (cover: Target, key: PropertyKey, get: (tracker: ReadListener, target: Target) => unknown, set?: (target: Target, value: unknown) => void): void {
  const prototype = Object.getPrototypeOf(cover) as object
  Object.defineProperty(cover, key, {
    get (this: Tracked) {
      const tracker = this[tracking]
      return tracker === undefined ? Reflect.get(prototype, key, this) as unknown : get(tracker, this)
    },
    set: set && function (this: Tracked, value: unknown) { set(this, value) }
  })
}

/** Names of the inherited getters: Fastify's and those of decorators. */
function gettersOf (prototype: object): Set<PropertyKey> {
  const names = new Set<PropertyKey>()
  for (let level: object | null = prototype; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as object | null) {
    for (const key of Reflect.ownKeys(level)) if (Object.getOwnPropertyDescriptor(level, key)?.get !== undefined) names.add(key)
  }
  return names
}

const maxRemembered = 1000
const known = new Map<PropertyKey, boolean>()

/** Whether a symbol property is internal to Fastify, this package or @fastify/otel, whose handler wrapper reads its span there. */
function isInternal (key: PropertyKey): boolean {
  if (typeof key !== 'symbol') return false
  const before = known.get(key)
  if (before !== undefined) return before
  const isOwn = /^(?:(fastify|prism)\.|fastify otel )/.test(key.description ?? '')
  // Bounded, because an app may create a symbol for each request.
  if (known.size < maxRemembered) known.set(key, isOwn)
  return isOwn
}

/** Reports each access to the target. */
class TrackingProxy implements ProxyHandler<object> {
  readonly #tracker: ReadListener

  constructor (tracker: ReadListener) {
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
