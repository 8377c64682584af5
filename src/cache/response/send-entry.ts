import { isUtf8 } from 'node:buffer'
import { Readable } from 'node:stream'
import { acceptsCoding } from '../../http/accept-encoding.ts'
import { formatCacheStatus } from '../../http/cache-status.ts'
import type { CacheStatus } from '../../http/cache-status.ts'
import { isNotModified, isPreconditionFailed } from '../../http/conditions.ts'
import type { Validators } from '../../http/conditions.ts'
import { removeDigests } from '../../http/digests.ts'
import { browserControl, membersOf } from './browser-cache-control.ts'
import type { BrowserPolicy } from './browser-cache-control.ts'
import { codedTag } from './compression.ts'
import { decompressBody, plainBodyOf } from './decompressed-bodies.ts'
import { failPrecondition, isCondition, isPrecondition, partOf } from './conditional-response.ts'
import type { Coding, Entry, PayloadType } from '../storage/entry-codec.ts'
import { fieldOf, textOf } from '../storage/entry-codec.ts'
import { ageSeconds, freshLeftMs } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import type { CacheRequest, RequestHeaders, CacheReply } from '../http-message.ts'
import { wallMs } from '../../shared/clock.ts'

/** Headers that a 304 repeats from the 200 (RFC 9110 section 15.4.5). */
const fieldsOf304 = new Set(['cache-control', 'cdn-cache-control', 'content-location', 'date', 'etag', 'expires', 'vary', 'last-modified', 'set-cookie'])

/** How an entry is sent. */
interface SendOptions {
  /** part of the request's cache state */
  readonly state: { hasNoType: boolean, handed: Entry | undefined }
  /** onSend hooks run after the cache: they receive the body as the handler produced it, and conditions are evaluated after them */
  readonly hasLaterHooks: boolean
  readonly browser: BrowserPolicy | undefined
  readonly status: CacheStatus
  /** runs the handler; called if the stored body cannot be decompressed */
  readonly otherwise: () => unknown
}

/**
 * Sends a stored response: 200, 206, 304 or 412.
 *
 * @returns undefined, or the reply if the response is sent asynchronously
 */
export function sendEntry (request: CacheRequest, reply: CacheReply, entry: Entry, options: SendOptions): unknown {
  const fields = request.raw.headers
  if (options.hasLaterHooks) return sendToHooks(request, reply, entry, options)
  const coding = codingFor(entry, fields)
  if (isPrecondition(fields) && entry.status === 200 && isPreconditionFailed(fields, validatorsOf(entry))) {
    setStoredHeaders(reply, entry, coding, options, fieldsOf304)
    failPrecondition(reply)
    reply.send()
    return undefined
  }
  if (isCondition(fields) && entry.status === 200 && isNotModified(fields, validatorsOf(entry))) {
    setStoredHeaders(reply, entry, coding, options, fieldsOf304)
    reply.code(304)
    reply.send()
    return undefined
  }
  if (entry.coding === 'identity' || coding === entry.coding) return send(request, fields, reply, entry, coding, entry.body, options)
  const plain = plainBodyOf(entry)
  if (plain !== undefined) return send(request, fields, reply, entry, coding, plain, options)
  const sendPlain = (body: Buffer) => {
    send(request, fields, reply, entry, coding, body, options)
    return reply
  }
  return decompressBody(entry).then(sendPlain, () => options.otherwise() ?? reply)
}

function send ({ method }: CacheRequest, fields: RequestHeaders, reply: CacheReply, entry: Entry, coding: Coding, body: Buffer, options: SendOptions): undefined {
  setStoredHeaders(reply, entry, coding, options)
  reply.code(entry.status)
  options.state.hasNoType = reply.getHeader('content-type') === undefined
  const isPart = fields.range !== undefined && method === 'GET' && entry.status === 200
  // Returns undefined: Fastify awaits a returned reply, which costs a promise for each hit.
  reply.send(isPart ? partOf(fields, reply, body, validatorsOf(entry)) : body)
}

/** Sends an entry uncompressed and whole: the finalizer evaluates conditions once the later hooks have run. */
function sendToHooks (request: CacheRequest, reply: CacheReply, entry: Entry, options: SendOptions): unknown {
  const sendPlain = (body: Buffer) => {
    setStoredHeaders(reply, entry, 'identity', options)
    reply.code(entry.status)
    options.state.hasNoType = reply.getHeader('content-type') === undefined
    options.state.handed = entry
    reply.send(isAbsent(entry, request) ? entry.payloadType === 'null' ? null : undefined : body)
    return reply
  }
  const plain = plainBodyOf(entry)
  if (plain === undefined) return decompressBody(entry).then(sendPlain, () => options.otherwise() ?? reply)
  sendPlain(plain)
  return undefined
}

/** Whether the handler gave no payload, as for a redirect. The hook that Fastify adds to HEAD routes fails for null. */
function isAbsent ({ payloadType }: Entry, { method }: CacheRequest): boolean {
  return payloadType === 'none' || (payloadType === 'null' && method !== 'HEAD')
}

/** Bytes. Above this, copying the body into a string costs more than one write less saves. */
const maxTextBytes = 16_384

/** Converts a small UTF-8 body to a string: Node writes head and string in one piece, but head and Buffer in two, which doubles the cost of a hit. */
export function asText (payload: unknown): unknown {
  if (!Buffer.isBuffer(payload) || payload.length > maxTextBytes) return payload
  return textOf(payload) ?? (isUtf8(payload) ? payload.toString() : payload)
}

/** The body of an entry as its handler produced it: with the type of that payload. */
export function asType (payload: unknown, type: PayloadType): unknown {
  if (!Buffer.isBuffer(payload) || type === 'bytes') return payload
  if (type === 'stream') return Readable.from(payload.length === 0 ? [] : [payload])
  if (type === 'none' || type === 'null') return ''
  return textOf(payload) ?? (type === 'text' || isUtf8(payload) ? payload.toString() : payload)
}

/** Validators of an entry: one entity tag for each content coding in which it can be sent. */
function validatorsOf (entry: Entry): Validators {
  const entityTag = fieldOf(entry, 'etag')
  const entityTags = entityTag === undefined ? [] : entry.coding === 'identity' ? [entityTag] : [entityTag, codedTag(entityTag, entry.coding)]
  return { entityTags, lastModified: fieldOf(entry, 'last-modified'), date: fieldOf(entry, 'date') }
}

/** Ranges are taken from the uncompressed body. */
function codingFor (entry: Entry, fields: RequestHeaders): Coding {
  if (entry.coding === 'identity' || fields.range !== undefined) return 'identity'
  return acceptsCoding(fields['accept-encoding'] as string | undefined, entry.coding) ? entry.coding : 'identity'
}

function setStoredHeaders (reply: CacheReply, entry: Entry, coding: Coding, { browser, status }: SendOptions, only?: ReadonlySet<string>): void {
  const now = wallMs()
  const age = ageSeconds(entry, now)
  setFields(reply, entry, only)
  if (coding !== 'identity') {
    const entityTag = fieldOf(entry, 'etag')
    if (entityTag !== undefined) reply.header('etag', codedTag(entityTag, coding))
    if (only === undefined) {
      reply.header('content-encoding', coding)
      removeDigests(reply)
    }
  }
  if (browser !== undefined) reply.header('cache-control', browserControl(controlFieldsOf(entry), browser, age))
  // RFC 9111 section 5.1
  reply.header('age', String(age))
  reply.header('cache-status', formatCacheStatus(status, reply.getHeader('cache-status') as string | undefined, Math.floor(freshLeftMs(entry, now) / 1000)))
}

/** Sets the headers of an entry on a reply, on which hooks may have set others. */
export function setFields (reply: CacheReply, { fields, removed }: Pick<Entry, 'fields' | 'removed'>, only?: ReadonlySet<string>): void {
  if (removed !== undefined) for (const name of removed) reply.removeHeader(name)
  for (const [name, value] of fields) {
    if (only === undefined || only.has(name)) reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary'), value) : value)
  }
}

function controlFieldsOf (entry: Entry): Fields {
  return { 'cache-control': fieldOf(entry, 'cache-control'), expires: fieldOf(entry, 'expires'), date: fieldOf(entry, 'date') }
}

/** Replaces `public` and `s-maxage` with `private`; other directives stay. */
export function makePrivate (reply: CacheReply): void {
  const own = membersOf(String(reply.getHeader('cache-control') ?? 'no-cache'))
  reply.header('cache-control', ['private', ...own.filter((each) => !/^(?:public|private|s-maxage\b.*)?$/i.test(each))].join(', '))
}

/** Appends members to a list header, without duplicates. */
export function joinFields (before: number | string | readonly string[] | undefined, added: string): string {
  if (before === undefined) return added
  const members = `${String(before)},${added}`.split(',').map((member) => member.trim()).filter((member) => member !== '')
  const seen = new Set<string>()
  return members.filter((member) => !seen.has(member.toLowerCase()) && seen.add(member.toLowerCase())).join(', ')
}
