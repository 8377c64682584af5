import { isUtf8 } from 'node:buffer'
import { acceptsCoding } from '../../http/accept-encoding.ts'
import { formatCacheStatus } from '../../http/cache-status.ts'
import type { CacheStatus } from '../../http/cache-status.ts'
import { isNotModified, isPreconditionFailed, isSameRange } from '../../http/conditions.ts'
import type { Validators } from '../../http/conditions.ts'
import { parseRange } from '../../http/range.ts'
import { browserControl, membersOf } from './browser-cache-control.ts'
import type { BrowserPolicy } from './browser-cache-control.ts'
import { codedTag, decompress } from './compression.ts'
import type { Coding, Entry } from '../storage/entry-codec.ts'
import { fieldOf, textOf } from '../storage/entry-codec.ts'
import { ageSeconds, freshLeftMs } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import type { CacheRequest, RequestHeaders, CacheReply } from '../http-message.ts'

/** Fields that a 304 carries, when the 200 would have (RFC 9110 section 15.4.5). */
const fieldsOf304 = new Set(['cache-control', 'cdn-cache-control', 'content-location', 'date', 'etag', 'expires', 'vary', 'last-modified', 'set-cookie'])

/** What an answer from the store is told besides the entry. */
export interface SendOptions {
  readonly browser: BrowserPolicy | undefined
  readonly status: CacheStatus
  /** runs the handler after all, for a body that cannot be read */
  readonly otherwise: () => unknown
}

/**
 * Answers from the store: whole, a part of it, or that the client has it.
 *
 * @returns undefined, or the reply where the answer takes a while
 */
export function sendEntry (request: CacheRequest, reply: CacheReply, entry: Entry, serving: SendOptions): unknown {
  const fields = request.raw.headers
  const coding = codingFor(entry, fields)
  if (isPrecondition(fields) && entry.status === 200 && isPreconditionFailed(fields, validatorsOf(entry))) {
    setStoredHeaders(reply, entry, coding, serving, fieldsOf304)
    refuse(reply)
    reply.send()
    return undefined
  }
  if (isCondition(fields) && entry.status === 200 && isNotModified(fields, validatorsOf(entry))) {
    setStoredHeaders(reply, entry, coding, serving, fieldsOf304)
    reply.code(304)
    reply.send()
    return undefined
  }
  if (entry.coding === 'identity' || coding === entry.coding) return send(request, reply, entry, coding, entry.body, serving)
  const plain = (body: Buffer) => {
    send(request, reply, entry, coding, body, serving)
    return reply
  }
  return decompress(entry.body, entry.coding).then(plain, () => serving.otherwise() ?? reply)
}

function send (request: CacheRequest, reply: CacheReply, entry: Entry, coding: Coding, body: Buffer, serving: SendOptions): undefined {
  setStoredHeaders(reply, entry, coding, serving)
  reply.code(entry.status)
  const { range } = request.raw.headers
  const isPart = range !== undefined && request.method === 'GET' && entry.status === 200
  // Nothing is returned: a reply that was returned, Fastify would wait for.
  reply.send(isPart ? partOf(request.raw.headers, reply, body, validatorsOf(entry)) : body)
}

/** Above this a copy costs more than what it saves. */
const mostAsText = 16_384

/** A small body as text, where that says the same bytes: Node sends head and text in one piece, and a buffer in two, which costs as much as all the rest of a hit. */
export function asText (payload: unknown): unknown {
  if (!Buffer.isBuffer(payload) || payload.length > mostAsText) return payload
  return textOf(payload) ?? (isUtf8(payload) ? payload.toString() : payload)
}

/** What a stored answer is compared with: the tag of each form it may be served in. */
export function validatorsOf (entry: Entry): Validators {
  const entityTag = fieldOf(entry, 'etag')
  const entityTags = entityTag === undefined ? [] : entry.coding === 'identity' ? [entityTag] : [entityTag, codedTag(entityTag, entry.coding)]
  return { entityTags, lastModified: fieldOf(entry, 'last-modified'), date: fieldOf(entry, 'date') }
}

function isPrecondition (fields: RequestHeaders): boolean {
  return fields['if-match'] !== undefined || fields['if-unmodified-since'] !== undefined
}

function isCondition (fields: RequestHeaders): boolean {
  return fields['if-none-match'] !== undefined || fields['if-modified-since'] !== undefined
}

/** What is said of the answer that was not wanted is for this client alone. */
function refuse (reply: CacheReply): void {
  reply.header('cache-control', 'no-store')
  reply.code(412)
}

/** Lets a handler's answer leave that is kept: whole, a part of it, or the word that the client has it, or does not want it. */
export function sendHandled (request: CacheRequest, reply: CacheReply, payload: unknown, body: Buffer): unknown {
  const fields = request.raw.headers
  const entityTag = reply.getHeader('etag')
  const validators = { entityTags: entityTag === undefined ? [] : [String(entityTag)], lastModified: reply.getHeader('last-modified') as string | undefined }
  reply.removeHeader('content-length')
  if (reply.statusCode !== 200) return payload
  const isRefused = isPreconditionFailed(fields, validators)
  if (isRefused || (isCondition(fields) && isNotModified(fields, validators))) {
    reply.removeHeader('content-type')
    if (isRefused) refuse(reply)
    else reply.code(304)
    return null
  }
  return fields.range !== undefined && request.method === 'GET' ? partOf(fields, reply, body, validators) : payload
}

/** A part is cut from the plain body. */
function codingFor (entry: Entry, fields: RequestHeaders): Coding {
  if (entry.coding === 'identity' || fields.range !== undefined) return 'identity'
  return acceptsCoding(fields['accept-encoding'] as string | undefined, entry.coding) ? entry.coding : 'identity'
}

function setStoredHeaders (reply: CacheReply, entry: Entry, coding: Coding, { browser, status }: SendOptions, only?: ReadonlySet<string>): void {
  const now = Date.now()
  const age = ageSeconds(entry, now)
  for (const [name, value] of entry.fields) {
    if (only === undefined || only.has(name)) reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary'), value) : value)
  }
  if (coding !== 'identity') {
    const entityTag = fieldOf(entry, 'etag')
    if (entityTag !== undefined) reply.header('etag', codedTag(entityTag, coding))
    if (only === undefined) reply.header('content-encoding', coding)
  }
  if (browser !== undefined) reply.header('cache-control', browserControl(controlFieldsOf(entry), browser, age))
  // RFC 9111 section 5.1
  reply.header('age', String(age))
  reply.header('cache-status', formatCacheStatus({ ...status, ttlSeconds: Math.floor(freshLeftMs(entry, now) / 1000) }, reply.getHeader('cache-status') as string | undefined))
}

function controlFieldsOf (entry: Entry): Fields {
  return { 'cache-control': fieldOf(entry, 'cache-control'), expires: fieldOf(entry, 'expires'), date: fieldOf(entry, 'date') }
}

/** The part of a body that a client asks for (RFC 9110 section 15.3.7); the reply is told which. */
export function partOf (fields: RequestHeaders, reply: CacheReply, body: Buffer, validators: Validators): Buffer {
  const range = isSameRange(fields, validators) ? parseRange(fields.range as string | undefined, body.length) : undefined
  if (range === undefined) return body
  reply.code(range === 'unsatisfiable' ? 416 : 206)
  reply.header('content-range', range === 'unsatisfiable' ? `bytes */${body.length}` : `bytes ${range.first}-${range.last}/${body.length}`)
  return range === 'unsatisfiable' ? Buffer.alloc(0) : body.subarray(range.first, range.last + 1)
}

/** Makes an answer one client's alone; what else it says of freshness stays. */
export function makePrivate (reply: CacheReply): void {
  const own = membersOf(String(reply.getHeader('cache-control') ?? 'no-cache'))
  reply.header('cache-control', ['private', ...own.filter((each) => !/^(?:public|private|s-maxage\b.*)?$/i.test(each))].join(', '))
}

/** Joins the members of a list field; what stands there already stays first, and nothing stands twice. */
export function joinFields (before: number | string | readonly string[] | undefined, added: string): string {
  if (before === undefined) return added
  const members = `${String(before)},${added}`.split(',').map((member) => member.trim()).filter((member) => member !== '')
  const seen = new Set<string>()
  return members.filter((member) => !seen.has(member.toLowerCase()) && seen.add(member.toLowerCase())).join(', ')
}
