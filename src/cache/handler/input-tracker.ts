import { normaliseField } from '../../http/vary.ts'
import { trackRaw, trackReply, trackRequest } from './install-tracking.ts'
import type { ReadListener } from './install-tracking.ts'

/** An input that the handler read and that is not part of the cache key. */
export interface UnkeyedInput {
  /** `header accept-language`, `request.user`, `request.ip` */
  readonly what: string
  /** the route option that would allow it */
  readonly remedy: string
}

/** The inputs that are part of the cache key. */
interface KeyedInputs {
  /** request headers, names in lower case */
  readonly fields: readonly string[]
  /** `user` and `session` cover the session; `function` also covers properties that hooks added to the request */
  readonly partition: 'user' | 'session' | 'function' | undefined
  /** whether the host is part of the key */
  readonly host: boolean
  /** path and query that the handler sees */
  readonly url: string
}

type Fields = Record<string, string | string[] | undefined>

const hostNames = new Set<PropertyKey>(['host', 'hostname', 'port'])

/** Properties that Fastify sets on every request: no partition covers them. */
const builtInNames = new Set<PropertyKey>(['raw', 'id', 'ip', 'ips', 'socket', 'protocol', 'mediaType', 'req'])

/** Conditional headers: the cache evaluates them on the complete response, and hides them from the handler. */
const conditional = new Set(['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range'])

/**
 * Tracks which inputs a handler reads during a fill. A stored response that depends on an unkeyed input allows cache poisoning.
 *
 * It is installed on the request and reply objects, so reads by hooks and serializers are tracked too.
 * Closures, AsyncLocalStorage, WeakMaps and `reply.raw` cannot be tracked.
 */
export class InputTracker implements ReadListener {
  /** the first unkeyed input that was read */
  unkeyedInput: UnkeyedInput | undefined
  readonly covered: KeyedInputs
  readonly #request: object
  readonly #reply: { readonly raw: { req?: object }, getHeaders (): object }
  readonly #validators: Readonly<Record<string, string>>
  #headersBefore: object
  #fields: Fields | undefined
  #isPaused = false
  #undo: (() => void)[]

  /**
   * @param before reply headers set by hooks
   * @param validators conditional headers made from a stale entry, to which the handler may respond 304
   */
  constructor (request: object, reply: object, covered: KeyedInputs, before: object, validators: Readonly<Record<string, string>>) {
    this.#request = request
    this.#reply = reply as { raw: { req?: object }, getHeaders (): object }
    this.#validators = validators
    this.#headersBefore = before
    this.covered = covered
    this.#undo = [trackRaw(this.#reply.raw, this), trackReply(reply, this), trackRequest(request, this)]
  }

  /** Resumes tracking for a stream that produces its body while it is sent. `reply.raw.req` is not tracked then, because Node itself reads it. */
  reopen (): void {
    this.close()
    this.#headersBefore = this.#reply.getHeaders()
    this.#fields = undefined
    this.#undo = [trackReply(this.#reply, this), trackRequest(this.#request, this)]
  }

  /** Stops tracking and restores request and reply. */
  close (): void {
    for (const undo of this.#undo) undo()
    this.#undo = []
  }

  /** Records the read of an unkeyed input; only the first is stored. */
  note (what: string, remedy = 'trackInputs: false'): void {
    if (!this.#isPaused) this.unkeyedInput ??= { what, remedy: `cache: { ${remedy} }` }
  }

  noteProperty (key: PropertyKey, name: string): void {
    const { partition, host } = this.covered
    if (hostNames.has(key)) {
      if (!host) this.note(name, "hosts: ['example.com']")
    } else if (key === 'session') {
      if (partition === undefined) this.note(name, "partition: 'user'")
    } else if (partition !== 'function' || builtInNames.has(key)) {
      this.note(name, builtInNames.has(key) ? undefined : 'partition: (request) => …')
    }
  }

  /** Records the read of one reply header, or of all, if hooks had set it. */
  noteLeft (name?: string): void {
    if (name === undefined ? Object.keys(this.#headersBefore).length > 0 : String(name).toLowerCase() in this.#headersBefore) this.note(name === undefined ? 'reply headers' : `reply header ${name}`)
  }

  /** Reads made by the tracking code itself do not count. */
  withoutTracking<Value> (read: () => Value): Value {
    const before = this.#isPaused
    this.#isPaused = true
    try {
      return read()
    } finally {
      this.#isPaused = before
    }
  }

  /** The request headers that the handler sees. */
  fields (read: () => Fields): Fields {
    if (this.#isPaused) return read()
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
