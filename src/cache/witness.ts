import { normaliseField } from '../http/vary.ts'

/** Something the handler read that the key does not hold. */
export interface Reading {
  /** `header accept-language`, `request.user`, `request.ip` */
  readonly what: string
  /** the line of route config that would allow it */
  readonly remedy: string
}

/** What the key holds, so that it may be read. */
export interface Covered {
  /** request fields, by name in lower case */
  readonly fields: readonly string[]
  /** `user` and `session` cover the session, `function` whatever hooks put on the request as well */
  readonly partition: 'user' | 'session' | 'function' | undefined
  /** the request's host is one of those that the key tells apart */
  readonly host: boolean
  /** path and query, as the handler shall see them */
  readonly url: string
}

type Target = Record<PropertyKey, unknown>

/** Of the request, what the key holds or what is the same for all: everything else on it counts as a reading. */
const freeOfRequest = new Set<PropertyKey>(['params', 'query', 'log', 'server', 'routeOptions', 'is404', 'method', 'signal', 'additionalHeaders', 'constructor'])
const freeOfReply = new Set<PropertyKey>(['raw', 'request', 'log', 'server', 'routeOptions', 'sent', 'elapsedTime', 'statusCode', 'mediaType', 'constructor', 'cache'])
/** Free, though Fastify takes them from `raw`. */
const innocent = ['method', 'signal', 'routeOptions']
const hostNames = new Set<PropertyKey>(['host', 'hostname', 'port'])
const sessionNames = new Set<PropertyKey>(['session', 'visitor'])

/** What the cache answers itself, once it has the whole answer: the handler sees a request without conditions. */
const conditional = new Set(['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range'])

/**
 * Notes what a handler reads of its request while it fills: cache poisoning is an input outside the key that shaped a stored answer.
 *
 * It sits on the request and the reply themselves, so hooks and serialisers that see the same objects are noted too.
 * Closures, AsyncLocalStorage, WeakMaps and `reply.raw` are out of its reach.
 */
export class Witness {
  /** the first reading that the key does not cover */
  reading: Reading | undefined
  readonly #covered: Covered
  readonly #open: () => void
  readonly #undo: (() => void)[] = []
  #isQuiet = false

  /**
   * @param validators fields of a stored answer that the handler may answer 304 to
   */
  constructor (request: object, reply: object, covered: Covered, validators: Readonly<Record<string, string>>) {
    this.#covered = covered
    this.#open = () => this.#watchAll(request, reply, validators)
    this.#watchRaw((reply as { raw: Target }).raw)
    this.#open()
  }

  /** Begins again, for a stream that is made while it is sent; Node itself then looks from the response to its request, which cannot be told apart. */
  reopen (): void {
    this.close()
    this.#open()
  }

  #watchAll (request: object, reply: object, validators: Readonly<Record<string, string>>): void {
    const covered = this.#covered
    const asked = request as Target
    this.#watchReply(reply as Target & { getHeaders: () => Record<string, unknown> })
    const free = freeIn(asked)
    // That validation has nothing to say is said by what is not there.
    if (!free.has('validationError') && !('validationError' in asked)) this.#replace(asked, 'validationError', () => this.note('request.validationError'))
    this.#watch(asked, 'request', free)
    for (const key of innocent) this.#replace(asked, key, () => this.#quietly(() => Reflect.get(Object.getPrototypeOf(asked) as object, key, asked) as unknown))
    this.#replace(asked, 'url', () => covered.url)
    this.#replace(asked, 'originalUrl', () => covered.url)
    this.#watchFields(asked, validators)
  }

  /** Stops noting, and leaves request and reply as it found them. */
  close (): void {
    for (const undo of this.#undo.splice(0).reverse()) undo()
  }

  /** Notes something that was read. */
  note (what: string, remedy = 'enforce: false'): void {
    if (!this.#isQuiet) this.reading ??= { what, remedy: `cache: { ${remedy} }` }
  }

  #watch (target: Target, name: string, free: ReadonlySet<PropertyKey>): void {
    for (const key of Reflect.ownKeys(target)) {
      if (free.has(key) || isOwnOf(key)) continue
      this.#watchOwn(target, key, `${name}.${String(key)}`)
    }
    for (const key of gettersOf(target)) {
      if (!free.has(key) && !isOwnOf(key) && key !== 'headers') this.#watchGetter(target, key, `${name}.${String(key)}`)
    }
  }

  #watchOwn (target: Target, key: PropertyKey, name: string): void {
    const descriptor = Object.getOwnPropertyDescriptor(target, key)
    // What cannot be watched may be read at any time.
    if (descriptor?.configurable !== true) this.#noteProperty(key, name)
    else if ('value' in descriptor) this.#watchValue(target, key, name, descriptor)
    else this.#watchAccessor(target, key, name, descriptor)
  }

  #watchAccessor (target: Target, key: PropertyKey, name: string, descriptor: PropertyDescriptor): void {
    const get = () => {
      this.#noteProperty(key, name)
      return this.#quietly(() => descriptor.get?.call(target) as unknown)
    }
    Object.defineProperty(target, key, { ...descriptor, get })
    this.#undo.push(() => Object.defineProperty(target, key, descriptor))
  }

  /** A property that holds a value: what is written to it meanwhile stays. */
  #watchValue (target: Target, key: PropertyKey, name: string, descriptor: PropertyDescriptor): void {
    let { value } = descriptor
    Object.defineProperty(target, key, {
      configurable: true,
      enumerable: descriptor.enumerable ?? true,
      get: () => {
        this.#noteProperty(key, name)
        return value
      },
      set: (next: unknown) => { value = next }
    })
    this.#undo.push(() => Object.defineProperty(target, key, { ...descriptor, value }))
  }

  #watchGetter (target: Target, key: PropertyKey, name: string): void {
    const prototype = Object.getPrototypeOf(target) as object
    this.#replace(target, key, () => {
      this.#noteProperty(key, name)
      return this.#quietly(() => Reflect.get(prototype, key, target) as unknown)
    }, (value) => Reflect.set(prototype, key, value, target))
  }

  #replace (target: Target, key: PropertyKey, get: () => unknown, set?: (value: unknown) => void): void {
    Object.defineProperty(target, key, { configurable: true, enumerable: false, get, set })
    this.#undo.push(() => delete target[key])
  }

  #noteProperty (key: PropertyKey, name: string): void {
    const { partition, host } = this.#covered
    if (hostNames.has(key)) {
      if (!host) this.note(name, "hosts: ['example.com']")
    } else if (sessionNames.has(key)) {
      if (partition === undefined) this.note(name, "partition: 'user'")
    } else if (key !== 'sessionReads' && (partition !== 'function' || isBuiltIn.has(key))) {
      this.note(name, isBuiltIn.has(key) ? undefined : 'partition: (request) => …')
    }
  }

  #quietly<Value> (read: () => Value): Value {
    const before = this.#isQuiet
    this.#isQuiet = true
    try {
      return read()
    } finally {
      this.#isQuiet = before
    }
  }

  #watchFields (request: Target, validators: Readonly<Record<string, string>>): void {
    const prototype = Object.getPrototypeOf(request) as object
    const fields = this.#quietly(() => Reflect.get(prototype, 'headers', request) as Record<string, string | string[] | undefined>)
    const valueOf = (name: string): string | string[] | undefined => {
      if (name in validators) return validators[name]
      if (conditional.has(name)) return undefined
      const value = fields[name]
      // The key holds the field in its one form, so the handler sees no other.
      return value === undefined || !this.#covered.fields.includes(name) ? value : normaliseField(name, value)
    }
    const view = new Proxy(fields, {
      get: (target, name) => {
        if (typeof name === 'symbol') return Reflect.get(target, name) as unknown
        this.#noteField(name)
        return valueOf(name)
      },
      has: (_target, name) => {
        this.#noteField(String(name))
        return valueOf(String(name)) !== undefined
      },
      ownKeys: (target) => {
        this.note('all headers')
        return Reflect.ownKeys(target)
      },
      getOwnPropertyDescriptor: (target, name) => {
        this.#noteField(String(name))
        return Reflect.getOwnPropertyDescriptor(target, name)
      }
    })
    this.#replace(request, 'headers', () => this.#isQuiet ? fields : view, (value) => Reflect.set(prototype, 'headers', value, request))
  }

  #noteField (name: string): void {
    const { fields, partition, host } = this.#covered
    if (fields.includes(name) || conditional.has(name) || (name === 'host' && host)) return
    if (partition === 'function' && (name === 'authorization' || name === 'cookie')) return
    this.note(`header ${name}`, name === 'host' ? "hosts: ['example.com']" : `vary: ['${name}']`)
  }

  /** What hooks left in the reply before the handler: reading it is reading what they read. */
  #watchReply (reply: Target & { getHeaders: () => Record<string, unknown> }): void {
    const before = reply.getHeaders()
    const prototype = Object.getPrototypeOf(reply) as Record<string, (name: string) => unknown>
    this.#watch(reply, 'reply', freeOfReply)
    for (const method of ['getHeader', 'hasHeader'] as const) {
      this.#replace(reply, method, () => (name: string) => {
        if (String(name).toLowerCase() in before) this.note(`reply header ${name}`)
        return prototype[method]?.call(reply, name)
      })
    }
    this.#replace(reply, 'getHeaders', () => () => {
      if (Object.keys(before).length > 0) this.note('reply headers')
      return prototype.getHeaders?.call(reply, '')
    })
  }

  /** The response knows its request. */
  #watchRaw (raw: Target): void {
    if (Object.hasOwn(raw, 'req')) this.#watchOwn(raw, 'req', 'reply.raw.req')
  }
}

/** What Fastify itself puts on every request: no partition speaks of it. */
const isBuiltIn = new Set<PropertyKey>(['raw', 'id', 'ip', 'ips', 'socket', 'protocol', 'mediaType', 'req'])

/** Fastify's own bookkeeping, this package's, and that of @fastify/otel, which wraps each handler and reads its span there. */
function isOwnOf (key: PropertyKey): boolean {
  return typeof key === 'symbol' && /^(?:(fastify|prism)\.|fastify otel )/.test(key.description ?? '')
}

/** A GET has no body, unless a hook gave it one; and what validation says is a function of the key, unless it looked at fields. */
function freeIn (request: Target): ReadonlySet<PropertyKey> {
  const { attachValidation, schema } = request.routeOptions as { attachValidation?: boolean, schema?: { headers?: unknown } }
  const free = new Set(freeOfRequest)
  if (request.body == null) free.add('body')
  if (attachValidation !== true || schema?.headers === undefined) free.add('validationError')
  return free
}

const known = new WeakMap<object, readonly PropertyKey[]>()

/** The getters that an object inherits: Fastify's, and those of decorators. */
function gettersOf (target: object): readonly PropertyKey[] {
  const prototype = Object.getPrototypeOf(target) as object
  const before = known.get(prototype)
  if (before !== undefined) return before
  const names = new Set<PropertyKey>()
  for (let level: object | null = prototype; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as object | null) {
    for (const key of Reflect.ownKeys(level)) if (Object.getOwnPropertyDescriptor(level, key)?.get !== undefined) names.add(key)
  }
  for (const own of ['url', 'originalUrl']) names.delete(own)
  known.set(prototype, [...names])
  return [...names]
}
