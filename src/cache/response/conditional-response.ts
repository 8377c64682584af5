import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { isNotModified, isPreconditionFailed, isSameRange } from '../../http/conditions.ts'
import type { Validators } from '../../http/conditions.ts'
import { removeDigests } from '../../http/digests.ts'
import { discardPayload, isStream, isStreaming } from '../../http/payload.ts'
import { parseRange } from '../../http/range.ts'
import type { ByteRange } from '../../http/range.ts'
import type { CacheReply, CacheRequest, RequestHeaders } from '../http-message.ts'
import { cutStream } from './range-stream.ts'

/** How a payload is used besides being sent. */
export interface PayloadUse {
  /** the payload is a stream that is also stored: called instead of destroying it, once the response needs no more of it */
  readonly release?: () => void
  /** called with the stream of a range that is sent instead of the payload */
  readonly onCut?: (part: Readable) => void
  /** a range is cut; default true */
  readonly mayCut?: boolean
}

/**
 * Evaluates the request's conditions and range for a handler's 200 response, because the handler did not see them
 * (RFC 9110 sections 13.2.1 and 14.2). Validators are those in the reply's headers.
 *
 * @returns the payload to send; an empty one for 304 and 412, whose payload is destroyed
 */
export function applyConditions (request: CacheRequest, reply: CacheReply, payload: unknown, use: PayloadUse = {}): unknown {
  const fields = request.raw.headers
  if (reply.statusCode !== 200 || !(isConditional(fields) || fields.range !== undefined)) return payload
  const validators = validatorsIn(reply)
  const isFailed = isPreconditionFailed(fields, validators)
  if (isFailed || (isCondition(fields) && isNotModified(fields, validators))) {
    for (const name of ['content-type', 'content-length']) reply.removeHeader(name)
    removeDigests(reply)
    if (isFailed) failPrecondition(reply)
    else reply.code(304)
    release(payload, use)
    // The hook that Fastify adds to HEAD routes fails for null.
    return request.method === 'HEAD' && payload !== null ? '' : null
  }
  return use.mayCut !== false && fields.range !== undefined && request.method === 'GET' ? cutPayload(fields, reply, payload, validators, use) : payload
}

/** Whether a request has a condition that leads to 304. */
export function isCondition (fields: RequestHeaders): boolean {
  return fields['if-none-match'] !== undefined || fields['if-modified-since'] !== undefined
}

/** Whether a request has a condition that leads to 412. */
export function isPrecondition (fields: RequestHeaders): boolean {
  return fields['if-match'] !== undefined || fields['if-unmodified-since'] !== undefined
}

/** A 412 depends on this client's precondition: no cache may store it. */
export function failPrecondition (reply: CacheReply): void {
  reply.header('cache-control', 'no-store')
  reply.code(412)
}

/** The requested range of a body (RFC 9110 section 15.3.7). Sets status 206 or 416 and `Content-Range`. */
export function partOf (fields: RequestHeaders, reply: CacheReply, body: Buffer, validators: Validators): Buffer {
  const range = rangeFor(fields, reply, body.length, validators)
  if (range === undefined) return body
  return range === 'unsatisfiable' ? Buffer.alloc(0) : body.subarray(range.first, range.last + 1)
}

function isConditional (fields: RequestHeaders): boolean {
  return isCondition(fields) || isPrecondition(fields)
}

function validatorsIn (reply: CacheReply): Validators {
  const entityTag = reply.getHeader('etag')
  return { entityTags: entityTag === undefined ? [] : [String(entityTag)], lastModified: reply.getHeader('last-modified') as string | undefined }
}

/** Cuts a string, a Buffer, or a stream whose length is known; any other payload is sent whole. */
function cutPayload (fields: RequestHeaders, reply: CacheReply, payload: unknown, validators: Validators, use: PayloadUse): unknown {
  if (isStreaming(payload)) return cutStreaming(fields, reply, payload, validators, use)
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload
  if (!Buffer.isBuffer(body)) return payload
  const part = partOf(fields, reply, body, validators)
  if (part === body) return payload
  reply.removeHeader('content-length')
  return part
}

function cutStreaming (fields: RequestHeaders, reply: CacheReply, payload: object, validators: Validators, use: PayloadUse): unknown {
  const length = reply.getHeader('content-length')
  if (length === undefined || !/^\d+$/.test(String(length)) || !(payload instanceof ReadableStream || isStream(payload))) return payload
  const range = rangeFor(fields, reply, Number(length), validators)
  if (range === undefined) return payload
  if (range === 'unsatisfiable') {
    reply.removeHeader('content-length')
    release(payload, use)
    return Buffer.alloc(0)
  }
  reply.header('content-length', String(range.last + 1 - range.first))
  const source = payload instanceof ReadableStream ? Readable.fromWeb(payload) : payload
  const part = cutStream(source, range, () => release(source, use))
  use.onCut?.(part)
  return part
}

/** The response needs no more of a payload. */
function release (payload: unknown, use: PayloadUse): void {
  if (use.release === undefined) discardPayload(payload)
  else use.release()
}

function rangeFor (fields: RequestHeaders, reply: CacheReply, length: number, validators: Validators): ByteRange | 'unsatisfiable' | undefined {
  const range = isSameRange(fields, validators) ? parseRange(fields.range as string | undefined, length) : undefined
  if (range === undefined) return undefined
  removeDigests(reply)
  reply.code(range === 'unsatisfiable' ? 416 : 206)
  reply.header('content-range', range === 'unsatisfiable' ? `bytes */${length}` : `bytes ${range.first}-${range.last}/${length}`)
  return range
}
