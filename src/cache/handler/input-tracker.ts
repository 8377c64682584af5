import { normaliseField } from '../../http/vary.ts'
import { joinFields } from '../response/send-entry.ts'
import { trackContextStore } from './context-store.ts'
import { hasNoCompression, noCompressionHeader } from './absent-inputs.ts'
import type { CacheRequest } from '../http-message.ts'
import { pauseInLogs } from './pausing-log.ts'
import { trackReply, trackRequest } from './tracked-messages.ts'
import type { ReadListener, RequestFields } from './read-listener.ts'

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

/** The part of a reply that the tracker uses. */
interface TrackedReply {
  getHeader (name: string): number | string | string[] | undefined
  getHeaders (): Record<string, number | string | string[] | undefined>
  header (name: string, value: string): unknown
}

const hostNames = new Set<PropertyKey>(['host', 'hostname', 'port'])

/** Properties that Fastify sets on every request: no partition covers them. */
const builtInNames = new Set<PropertyKey>(['raw', 'id', 'ip', 'ips', 'socket', 'protocol', 'mediaType', 'req'])

/** Conditional headers: the cache evaluates them on the complete response, and hides them from the handler. */
const conditional = new Set(['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range'])

/**
 * Tracks which inputs a handler reads during a fill. A stored response that depends on an unkeyed input allows cache poisoning.
 *
 * It is installed on the request, its raw message, the reply and the store of @fastify/request-context, so reads by hooks, serializers and functions
 * that the handler calls are tracked too. Closures, WeakMaps, an AsyncLocalStorage of the app's own and `reply.raw` cannot be tracked.
 */
export class InputTracker implements ReadListener {
  /** the first unkeyed input that was read */
  unkeyedInput: UnkeyedInput | undefined
  readonly covered: KeyedInputs
  readonly #request: object
  readonly #reply: TrackedReply
  readonly #validators: Readonly<Record<string, string>>
  #headersBefore: Readonly<Record<string, unknown>>
  /** what the handler sees of the headers of the request, and of those of its raw message */
  #views: { request?: RequestFields, raw?: RequestFields } = {}
  readonly #hasNoCompression: boolean
  #isPaused = false
  #undo: (() => void)[]

  /**
   * @param before reply headers set by hooks
   * @param validators conditional headers made from a stale entry, to which the handler may respond 304
   */
  constructor (request: Pick<CacheRequest, 'raw'>, reply: TrackedReply, covered: KeyedInputs, before: Readonly<Record<string, unknown>>, validators: Readonly<Record<string, string>>) {
    this.#request = request
    this.#reply = reply
    this.#validators = validators
    this.#headersBefore = before
    this.covered = covered
    this.#hasNoCompression = hasNoCompression(request)
    this.#undo = this.#install()
  }

  get isPaused (): boolean {
    return this.#isPaused
  }

  #install (): (() => void)[] {
    const store = trackContextStore(this.#request, this)
    const undo = [pauseInLogs([this.#request, this.#reply], this), trackReply(this.#reply, this), trackRequest(this.#request, this)]
    return store === undefined ? undo : [...undo, store]
  }

  /** Resumes tracking for a stream that produces its body while it is sent. */
  reopen (): void {
    this.close()
    this.#headersBefore = this.#reply.getHeaders()
    this.#views = {}
    this.#undo = this.#install()
  }

  /** Stops tracking and restores request and reply. */
  close (): void {
    if (this.#undo.length === 0) return
    for (const undo of this.#undo) undo()
    this.#undo = []
    this.#mergeVary()
  }

  /** The handler does not see the members of `Vary` that hooks have set, and its own are added to them. */
  #mergeVary (): void {
    const { vary: before } = this.#headersBefore
    const vary = before === undefined ? undefined : this.#reply.getHeader('vary')
    if (vary !== undefined && vary !== before) this.#reply.header('vary', joinFields([before].flat().map(String), [vary].flat().join(', ')))
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

  noteHeaders (): void {
    if (Object.keys(this.#headersBefore).length > 0) this.note('reply headers')
  }

  /**
   * Records the read of a reply header that hooks have set. `Vary` is hidden instead: plugins such as CORS set it for each request,
   * and helpers such as `reply.vary()` read it to add their own members.
   */
  hidesHeader (name: string, read: () => unknown): boolean {
    const key = String(name).toLowerCase()
    if (this.#isPaused || !(key in this.#headersBefore)) return false
    if (key === 'vary') return read() === this.#headersBefore.vary
    this.note(`reply header ${name}`)
    return false
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
  fields (read: () => RequestFields, of: 'request' | 'raw'): RequestFields {
    if (this.#isPaused) return read()
    const view = this.#views[of] ?? this.#viewOf(this.withoutTracking(read))
    this.#views[of] = view
    return view
  }

  #viewOf (fields: RequestFields): RequestFields {
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
    // Its absence is part of the key.
    if (name === noCompressionHeader && !this.#hasNoCompression) return
    if (partition === 'function' && (name === 'authorization' || name === 'cookie')) return
    this.note(`header ${name}`, name === 'host' ? "hosts: ['example.com']" : `vary: ['${name}']`)
  }
}
