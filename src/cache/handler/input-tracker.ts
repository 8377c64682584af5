import { normaliseField } from '../../http/vary.ts'
import { sessionIdentity } from '../../shared/session-identity.ts'
import { joinFields } from '../response/send-entry.ts'
import { noCompressionHeader } from './absent-inputs.ts'
import { trackContextStore } from './context-store.ts'
import { viewHeaders } from './header-view.ts'
import type { ReadListener, RequestFields, Target } from './read-listener.ts'
import { isReadByHook, isReadByServer, isSentByAgents } from './reader.ts'
import { enterRun } from './running-tracker.ts'
import type { RunningTracker } from './running-tracker.ts'
import { trackedLog } from './tracked-log.ts'
import { trackMessages, trackValidationError } from './tracked-messages.ts'
import type { Messages } from './tracked-messages.ts'
import { untrack } from './tracked-object.ts'

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
  /** the host in the key; '' if it is not part of it */
  readonly host: string
  /** path and query that the handler sees */
  readonly url: string
  /** path and query of the request */
  readonly received: string | undefined
  /** whether `request.validationError` is a function of the key */
  readonly validation: boolean
}

/** The part of a reply that the tracker uses. */
interface TrackedReply {
  readonly raw: object
  getHeader (name: string): number | string | string[] | undefined
  getHeaders (): Record<string, number | string | string[] | undefined>
  header (name: string, value: string): unknown
}

/** Whether reads are reported. `hooks`: only those of a stream's producer, while later hooks run. */
type TrackerState = 'open' | 'hooks' | 'closed'

const hostNames = new Set<PropertyKey>(['host', 'hostname', 'port'])

const authorityNames = new Set(['host', ':authority'])
/** for what other plugins make of a client, such as their sessions */
const functionRemedy = 'partition: (request) => …'
const hostRemedy = "hosts: ['example.com']"

/** Properties that Fastify sets on every request: no partition covers them. */
const builtInNames = new Set<PropertyKey>(['raw', 'id', 'ip', 'ips', 'socket', 'protocol', 'mediaType', 'req'])

/** Conditional headers: the cache evaluates them on the complete response, and hides them from the handler. */
const conditional = new Set(['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since', 'if-range', 'range'])

/**
 * Tracks which inputs a handler reads during a fill. A stored response that depends on an unkeyed input allows cache poisoning.
 *
 * It is installed on the request, the reply, their raw messages and the store of @fastify/request-context, so reads by hooks, serializers and functions
 * that the handler calls are tracked too. Closures, WeakMaps and an AsyncLocalStorage of the app's own cannot be tracked.
 */
export class InputTracker implements ReadListener {
  /** the first unkeyed input that was read */
  unkeyedInput: UnkeyedInput | undefined
  readonly covered: KeyedInputs
  readonly #messages: Messages
  readonly #validators: Readonly<Record<string, string>>
  #headersBefore: Readonly<Record<string, unknown>>
  /** what the handler sees of the headers of the request, and of those of its raw message */
  #views: { request?: RequestFields, raw?: RequestFields } | undefined
  #logs: Map<object, object> | undefined
  #isPaused = false
  #state: TrackerState = 'closed'
  #undo: (() => void)[] = []
  #run: RunningTracker | undefined
  /** a wrapper is in place of `reply.send` */
  #isSendWrapped = false
  #isKept = false

  /**
   * @param before reply headers set by hooks
   * @param validators conditional headers made from a stale entry, to which the handler may respond 304
   */
  constructor (request: { readonly raw: object }, reply: TrackedReply, covered: KeyedInputs, before: Readonly<Record<string, unknown>>, validators: Readonly<Record<string, string>>) {
    this.#messages = { request, reply, raw: request.raw, response: reply.raw }
    this.#validators = validators
    this.#headersBefore = before
    this.covered = covered
    this.#install()
  }

  get isPaused (): boolean {
    return this.#isPaused || (this.#state === 'hooks' && this.withoutTracking(isReadByHook))
  }

  get #reply (): TrackedReply {
    return this.#messages.reply as TrackedReply
  }

  #install (): void {
    const { request, reply } = this.#messages
    this.#isSendWrapped = Object.hasOwn(reply, 'send')
    const store = trackContextStore(request, this)
    this.#undo = trackMessages(this.#messages, this)
    if (store !== undefined) this.#undo.push(store)
    if (!this.covered.validation) this.#undo.unshift(trackValidationError(request as Target, this))
    this.#run = enterRun(this)
    this.#state = 'open'
  }

  /** The handler has returned a stream, whose producer may read while later hooks run. The next `close` ends only the tracking of hooks. */
  keepForStream (): void {
    if (this.#state === 'open') this.#isKept = true
  }

  /** Resumes tracking for a stream that produces its body while it is sent. */
  reopen (): void {
    if (this.#state === 'closed') this.#install()
    this.#headersBefore = this.withoutTracking(() => this.#reply.getHeaders())
    this.#views = undefined
    this.#state = 'open'
  }

  /** Stops tracking and restores request and reply. */
  close (): void {
    const { request, reply, raw, response } = this.#messages
    const state = this.#state
    if (state === 'closed') return
    if (this.#isKept) return this.#enterHooks()
    this.#state = 'closed'
    for (const undo of this.#undo) undo()
    this.#undo = []
    for (const message of [request, reply, raw, response]) untrack(message)
    if (this.#run !== undefined) this.#run.tracker = undefined
    if (state === 'open') this.#mergeVary()
  }

  #enterHooks (): void {
    this.#isKept = false
    this.#state = 'hooks'
    this.withoutTracking(() => { this.#mergeVary() })
  }

  /** The handler does not see the members of `Vary` that hooks have set, and its own are added to them. */
  #mergeVary (): void {
    const { vary: before } = this.#headersBefore
    const vary = before === undefined ? undefined : this.#reply.getHeader('vary')
    if (vary !== undefined && vary !== before) this.#reply.header('vary', joinFields([before].flat().map(String), [vary].flat().join(', ')))
  }

  /** Records the read of an unkeyed input; only the first is stored. */
  note (what: string, remedy = 'trackInputs: false'): void {
    if (this.unkeyedInput === undefined && !this.isPaused) this.unkeyedInput = { what, remedy: `cache: { ${remedy} }` }
  }

  noteProperty (key: PropertyKey, name: string): void {
    const { partition, host } = this.covered
    if (hostNames.has(key)) {
      if (host === '') this.note(name, hostRemedy)
    } else if (key === 'session') {
      if (partition === undefined) this.note(name, sessionIdentity in this.#messages.request ? "partition: 'user'" : functionRemedy)
    } else if (partition !== 'function' || builtInNames.has(key)) {
      this.note(name, builtInNames.has(key) ? undefined : functionRemedy)
    }
  }

  noteHeaders (): void {
    if (this.unkeyedInput === undefined && Object.keys(this.#headersBefore).length > 0 && !isReadByServer()) this.note('reply headers')
  }

  /**
   * Records the read of a reply header that hooks have set. `Vary` is hidden instead: plugins such as CORS set it for each request,
   * and helpers such as `reply.vary()` read it to add their own members.
   */
  hidesHeader (name: string, read: () => unknown): boolean {
    const key = String(name).toLowerCase()
    if (!(key in this.#headersBefore) || this.isPaused || isReadByServer()) return false
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

  isReported (read: () => unknown): boolean {
    const before = this.unkeyedInput
    this.unkeyedInput = undefined
    try {
      read()
      return this.unkeyedInput !== undefined
    } catch {
      return false
    } finally {
      this.unkeyedInput = before
    }
  }

  /** The request headers that the handler sees. */
  fields (read: () => RequestFields, of: 'request' | 'raw'): RequestFields {
    if (this.isPaused) return read()
    this.#views ??= {}
    const view = this.#views[of] ?? viewHeaders(this.withoutTracking(read), { read: (name, fields) => this.#readField(name, fields), list: (fields) => this.#listFields(fields), withoutTracking: (read) => this.withoutTracking(read) })
    this.#views[of] = view
    return view
  }

  #readField (name: string, fields: RequestFields): string | string[] | undefined {
    this.#noteField(name, fields)
    if (name in this.#validators) return this.#validators[name]
    if (conditional.has(name)) return undefined
    const value = fields[name]
    // The key holds the field in its one form, so the handler sees no other. Validation may have made another type of it.
    return typeof value !== 'string' || !this.covered.fields.includes(name) ? value : normaliseField(name, value)
  }

  #listFields (fields: RequestFields): string[] {
    this.note('all headers')
    return [...Object.keys(fields).filter((name) => !conditional.has(name)), ...Object.keys(this.#validators)]
  }

  log (log: object): object {
    if (this.isPaused) return log
    this.#logs ??= new Map()
    const tracked = this.#logs.get(log) ?? trackedLog(log, this)
    this.#logs.set(log, tracked)
    return tracked
  }

  /** A wrapper that the app has put around `reply.send` may add what a hook knows of the client. Those of agents do not. */
  payloadSent (): void {
    if (!this.#isSendWrapped || this.isPaused) return
    const isByAgents = isSentByAgents()
    if (isByAgents !== undefined) this.#isSendWrapped = false
    if (isByAgents === false) this.noteProperty('send', 'reply.send')
  }

  #noteField (name: string, received: RequestFields): void {
    const { fields, partition } = this.covered
    if (fields.includes(name) || conditional.has(name) || this.#isPartOfKey(name, received[name])) return
    // Its absence is part of the key.
    if (name === noCompressionHeader && received[name] === undefined) return
    if (partition === 'function' && (name === 'authorization' || name === 'cookie')) return
    this.note(`header ${name}`, this.#remedyOf(name))
  }

  /** The host, and the pseudo-header fields of HTTP/2. Behind a proxy, the host that the request names may be another one than that of the key. */
  #isPartOfKey (name: string, value: unknown): boolean {
    const { host, url } = this.covered
    if (authorityNames.has(name)) return host !== '' && value === host
    return name === ':method' || (name === ':path' && value === url)
  }

  #remedyOf (name: string): string {
    if (authorityNames.has(name) && this.covered.host === '') return hostRemedy
    return name.startsWith(':') ? 'trackInputs: false' : `vary: ['${name}']`
  }
}
