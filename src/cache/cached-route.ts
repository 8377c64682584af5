import { randomInt } from 'node:crypto'
import { formatCacheStatus } from '../http/cache-status.ts'
import type { Forwarded } from '../http/cache-status.ts'
import { makeEntityTag } from '../http/entity-tag.ts'
import { packEntry, unpackEntry } from './entry.ts'
import type { Entry, Head } from './entry.ts'
import type { Fill, Fills } from './fill.ts'
import { KeyMaker } from './key.ts'
import type { Key } from './key.ts'
import type { Lookup } from './lookup.ts'
import type { Asking, Replying } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import { isKnown, joinFields, serve } from './serve.ts'
import type { CacheStore } from './store.ts'
import { judge } from './storing.ts'
import type { Fields } from './storing.ts'

/** What one request and the cache have to do with each other. */
export interface Visit {
  key?: Key
  lookup?: Lookup<Entry>
  /** the tags that were added while the handler ran */
  tags: string[]
  /** set once the handler runs: why, and what stood in the reply before */
  run?: { reason: Forwarded, detail?: string, before: Fields, sequence?: number, fill?: Fill<Entry>, touched?: string }
}

/** Runs the route's own handler. */
export type Run = () => unknown

/** Response fields that are never kept: they speak of one connection or one client (RFC 9111 section 3.1). */
const neverKept = new Set(['set-cookie', 'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'age', 'cache-status', 'date'])

/** One route whose answers are kept: looks, serves, runs the handler when it must, and keeps what may be kept. */
export class CachedRoute<Request extends Asking> {
  readonly #policy: RoutePolicy<Request>
  readonly #store: CacheStore
  readonly #fills: Fills<Entry>
  readonly #keys: KeyMaker

  constructor (policy: RoutePolicy<Request>, routePattern: string, store: CacheStore, fills: Fills<Entry>) {
    this.#policy = policy
    this.#store = store
    this.#fills = fills
    this.#keys = new KeyMaker(policy, store.keys.cacheEntry('GET', routePattern))
  }

  /** What the route chose, complete: for documents that tell of it. */
  get policy (): RoutePolicy<Request> {
    return this.#policy
  }

  /** Looks into the store; what it asks leaves with this tick. A partition is only known once the session is there. */
  ask (request: Request, visit: Visit): void {
    if (this.#policy.partition === undefined && mayBeStored(request)) this.#look(request, visit, [])
  }

  /** Answers from the store, or runs the handler. */
  answer (request: Request, reply: Replying, visit: Visit, run: Run): unknown {
    if (!mayBeStored(request)) return this.#forward(reply, visit, run, isSafe(request.method) ? 'bypass' : 'method')
    if (visit.lookup === undefined) {
      const partition = this.#partitionOf(request)
      if (partition === undefined) return this.#forward(reply, visit, run, 'bypass', 'partition')
      this.#look(request, visit, [partition])
    }
    const found = visit.lookup?.found
    return found === undefined ? visit.lookup?.settled().then(() => this.#decide(request, reply, visit, run)) : this.#decide(request, reply, visit, run)
  }

  /** Judges what the handler answered, and keeps it where it may. */
  settle (request: Request, reply: Replying, visit: Visit, payload: unknown): unknown {
    const run = visit.run
    if (run === undefined) return undefined
    const kept = this.#keep(request, reply, visit, payload)
    const isStored = typeof kept !== 'string'
    run.fill?.end(isStored ? kept : undefined)
    const detail = isStored ? run.detail : run.detail ?? kept
    reply.header('cache-status', formatCacheStatus({ forwarded: run.reason, isStored, ...(detail === undefined ? {} : { detail }) }))
    if (!isStored || !isKnown(request, reply.statusCode, reply.getHeader('etag') as string | undefined)) return undefined
    reply.removeHeader('content-type')
    reply.code(304)
    return ''
  }

  #look (request: Request, visit: Visit, parts: readonly string[]): void {
    const key = this.#keys.make(request.raw.url ?? request.url, request.headers, ...parts)
    visit.key = key
    visit.lookup = this.#store.look(key.name, this.#tagsOf(request), (packed) => unpackEntry(packed, key.text))
  }

  #tagsOf (request: Request): readonly string[] {
    const { tags, tagsOf } = this.#policy
    return tagsOf.length === 0 ? tags : [...new Set([...tags, ...tagsOf.flatMap((each) => each(request))])]
  }

  #partitionOf (request: Request): string | undefined {
    const { partition } = this.#policy
    if (typeof partition === 'function') return partition(request)
    const session = (request as { session?: { userId?: unknown, id?: unknown } }).session
    const who = partition === 'user' ? session?.userId : session?.id
    return who == null ? undefined : `${partition}:${encodeURIComponent(String(who))}`
  }

  #decide (request: Request, reply: Replying, visit: Visit, run: Run): unknown {
    const found = visit.lookup?.found
    if (found === undefined || found.outcome === 'unavailable') return this.#forward(reply, visit, run, 'bypass', 'redis')
    if (found.outcome === 'none') return this.#fill(request, reply, visit, run, 'miss')
    if (Date.now() >= found.entry.bornAt + found.entry.freshMs) return this.#fill(request, reply, visit, run, 'stale')
    return serve(request, reply, found.entry, this.#policy, { isHit: true })
  }

  async #fill (request: Request, reply: Replying, visit: Visit, run: Run, reason: Forwarded): Promise<unknown> {
    const name = visit.key?.name ?? ''
    const required = visit.lookup?.requiredSequence
    let shared = required === undefined ? undefined : this.#fills.find(name, required)
    const sequence = shared === undefined ? await this.#store.begin().catch(() => undefined) : shared.sequence
    if (sequence === undefined) return this.#forward(reply, visit, run, 'bypass', 'redis')
    shared ??= this.#fills.find(name, required ?? sequence)
    if (shared !== undefined) {
      const entry = await shared.result
      if (entry !== undefined) return serve(request, reply, entry, this.#policy, { forwarded: reason, isCollapsed: true })
    }
    visit.run = { reason, before: reply.getHeaders(), sequence, ...(request.method === 'GET' && shared === undefined ? { fill: this.#fills.begin(name, sequence) } : {}) }
    return run()
  }

  #forward (reply: Replying, visit: Visit, run: Run, reason: Forwarded, detail?: string): unknown {
    visit.run = { reason, before: reply.getHeaders(), ...(detail === undefined ? {} : { detail }) }
    return run()
  }

  /** @returns the entry, which leaves for Redis with the next tick; or why it is not kept */
  #keep (request: Request, reply: Replying, visit: Visit, payload: unknown): Entry | string {
    const { run, key } = visit
    if (run?.sequence === undefined || key === undefined || request.method !== 'GET') return run?.detail ?? 'method'
    if (run.touched !== undefined && this.#policy.partition === undefined) return run.touched
    const fields = addedFields(run.before, reply.getHeaders())
    const judgement = judge({ status: reply.statusCode, fields: { ...fields, ...cookies(reply) } }, this.#policy as RoutePolicy)
    if ('refusal' in judgement) return judgement.refusal
    const body = bodyOf(payload)
    if (body === undefined) return 'stream'
    if (body.length > this.#policy.maxBytes) return 'too-large'

    this.#complete(reply, fields, body)
    const tags = [...new Set([...this.#tagsOf(request), ...visit.tags])]
    const head = { status: reply.statusCode, sequence: run.sequence, bornAt: Date.now(), freshMs: shortened(judgement.freshMs), key: key.text, tags, fields: Object.entries(fields) }
    this.#send(key, head, body)
    return { ...head, body }
  }

  #send (key: Key, head: Head, body: Buffer): void {
    // A store that fails costs the next request a run of the handler, and this one nothing.
    this.#store.keep(key.name, head, packEntry(head, body), head.freshMs).catch(() => false)
  }

  /** Adds what a kept answer must say of itself, to the reply and to what is kept. */
  #complete (reply: Replying, fields: Record<string, string>, body: Buffer): void {
    const add = (name: string, value: string) => {
      fields[name] = value
      reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary'), value) : value)
    }
    const { vary, partition, browserSeconds } = this.#policy
    if (reply.statusCode === 200) add('etag', fields.etag ?? makeEntityTag(body))
    if (vary.length > 0) add('vary', joinFields(fields.vary, vary.join(', ')))
    const own = fields['cache-control']
    if (partition !== undefined) add('cache-control', own === undefined ? 'private, no-cache' : joinFields('private', own))
    else if (browserSeconds !== undefined) add('cache-control', `max-age=${browserSeconds}`)
    else if (own === undefined) add('cache-control', 'no-cache')
  }
}

/** RFC 9110 section 9.3.1: a body on a GET has no meaning that a cache could know. */
function mayBeStored ({ method, headers }: Asking): boolean {
  return (method === 'GET' || method === 'HEAD') && headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0'
}

function isSafe (method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS' || method === 'TRACE'
}

/** What was filled together shall not expire together. */
function shortened (freshMs: number): number {
  return Math.round(freshMs * (1 - randomInt(1000) / 10_000))
}

function bodyOf (payload: unknown): Buffer | undefined {
  if (typeof payload === 'string') return Buffer.from(payload)
  if (payload == null) return Buffer.alloc(0)
  return Buffer.isBuffer(payload) ? payload : undefined
}

function addedFields (before: Fields, after: Fields): Record<string, string> {
  const dropped = new Set(String(after.connection ?? '').toLowerCase().split(',').map((name) => name.trim()))
  const added = Object.entries(after).filter(([name, value]) => !neverKept.has(name) && !dropped.has(name) && value !== undefined && String(value) !== String(before[name]))
  return Object.fromEntries(added.map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : String(value)]))
}

function cookies (reply: Replying): Fields {
  const cookie = reply.getHeader('set-cookie')
  return cookie === undefined ? {} : { 'set-cookie': cookie }
}
