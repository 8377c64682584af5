import { normaliseField } from '../../http/vary.ts'
import { watchRaw, trackReply, trackRequest } from './install-tracking.ts'

/** Something the handler read that the key does not hold. */
export interface UnkeyedInput {
  /** `header accept-language`, `request.user`, `request.ip` */
  readonly what: string
  /** the line of route config that would allow it */
  readonly remedy: string
}

/** What the key holds, so that it may be read. */
export interface KeyedInputs {
  /** request fields, by name in lower case */
  readonly fields: readonly string[]
  /** `user` and `session` cover the session, `function` whatever hooks put on the request as well */
  readonly partition: 'user' | 'session' | 'function' | undefined
  /** the request's host is one of those that the key tells apart */
  readonly host: boolean
  /** path and query, as the handler shall see them */
  readonly url: string
}

type Fields = Record<string, string | string[] | undefined>

const hostNames = new Set<PropertyKey>(['host', 'hostname', 'port'])
const sessionNames = new Set<PropertyKey>(['session', 'visitor'])

/** What Fastify itself puts on every request: no partition speaks of it. */
const isBuiltIn = new Set<PropertyKey>(['raw', 'id', 'ip', 'ips', 'socket', 'protocol', 'mediaType', 'req'])

/** What the cache answers itself, once it has the whole answer: the handler sees a request without conditions. */
const conditional = new Set(['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range'])

/**
 * Notes what a handler reads of its request while it fills: cache poisoning is an input outside the key that shaped a stored answer.
 *
 * It sits on the request and the reply themselves, so hooks and serialisers that see the same objects are noted too.
 * Closures, AsyncLocalStorage, WeakMaps and `reply.raw` are out of its reach.
 */
export class InputTracker {
  /** the first reading that the key does not cover */
  unkeyedInput: UnkeyedInput | undefined
  readonly covered: KeyedInputs
  readonly #request: object
  readonly #reply: { readonly raw: { req?: object }, getHeaders (): object }
  readonly #validators: Readonly<Record<string, string>>
  #left: object
  #fields: Fields | undefined
  #isQuiet = false
  #undo: (() => void)[]

  /**
   * @param left the reply's fields, as hooks left them
   * @param validators fields of a stored answer that the handler may answer 304 to
   */
  constructor (request: object, reply: object, covered: KeyedInputs, left: object, validators: Readonly<Record<string, string>>) {
    this.#request = request
    this.#reply = reply as { raw: { req?: object }, getHeaders (): object }
    this.#validators = validators
    this.#left = left
    this.covered = covered
    this.#undo = [watchRaw(this.#reply.raw, this), trackReply(reply, this), trackRequest(request, this)]
  }

  /** Begins again, for a stream that is made while it is sent; Node itself then looks from the response to its request, which cannot be told apart. */
  reopen (): void {
    this.close()
    this.#left = this.#reply.getHeaders()
    this.#fields = undefined
    this.#undo = [trackReply(this.#reply, this), trackRequest(this.#request, this)]
  }

  /** Stops noting, and leaves request and reply as it found them. */
  close (): void {
    for (const undo of this.#undo) undo()
    this.#undo = []
  }

  /** Notes something that was read. */
  note (what: string, remedy = 'trackInputs: false'): void {
    if (!this.#isQuiet) this.unkeyedInput ??= { what, remedy: `cache: { ${remedy} }` }
  }

  noteProperty (key: PropertyKey, name: string): void {
    const { partition, host } = this.covered
    if (hostNames.has(key)) {
      if (!host) this.note(name, "hosts: ['example.com']")
    } else if (sessionNames.has(key)) {
      if (partition === undefined) this.note(name, "partition: 'user'")
    } else if (key !== 'sessionReads' && (partition !== 'function' || isBuiltIn.has(key))) {
      this.note(name, isBuiltIn.has(key) ? undefined : 'partition: (request) => …')
    }
  }

  /** Notes a look at one field of the reply, or at all, where hooks left any. */
  noteLeft (name?: string): void {
    if (name === undefined ? Object.keys(this.#left).length > 0 : String(name).toLowerCase() in this.#left) this.note(name === undefined ? 'reply headers' : `reply header ${name}`)
  }

  /** What is read on the way is no reading. */
  withoutTracking<Value> (read: () => Value): Value {
    const before = this.#isQuiet
    this.#isQuiet = true
    try {
      return read()
    } finally {
      this.#isQuiet = before
    }
  }

  /** The request's fields, as the handler shall see them. */
  fields (read: () => Fields): Fields {
    if (this.#isQuiet) return read()
    this.#fields ??= this.#viewOf(this.withoutTracking(read))
    return this.#fields
  }

  #viewOf (fields: Fields): Fields {
    const valueOf = (name: string): string | string[] | undefined => {
      if (name in this.#validators) return this.#validators[name]
      if (conditional.has(name)) return undefined
      const value = fields[name]
      // The key holds the field in its one form, so the handler sees no other.
      return value === undefined || !this.covered.fields.includes(name) ? value : normaliseField(name, value)
    }
    return new Proxy(fields, {
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
  }

  #noteField (name: string): void {
    const { fields, partition, host } = this.covered
    if (fields.includes(name) || conditional.has(name) || (name === 'host' && host)) return
    if (partition === 'function' && (name === 'authorization' || name === 'cookie')) return
    this.note(`header ${name}`, name === 'host' ? "hosts: ['example.com']" : `vary: ['${name}']`)
  }
}
