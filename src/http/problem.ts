import { STATUS_CODES, validateHeaderName, validateHeaderValue } from 'node:http'

/** A problem document (RFC 9457): what a client is told of an error. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  /** Stable; clients branch on it. */
  readonly code: string
  /** The request's id, under which the log has it. */
  readonly instance: string
  readonly [extension: string]: unknown
}

/** One fault of a request's input: in its body (`pointer`, RFC 6901 as a fragment) or in a parameter. */
export interface InputFault {
  readonly pointer?: string
  readonly parameter?: string
  readonly in?: 'query' | 'path' | 'header'
  readonly detail: string
}

/** What may hang on an error that somebody threw; nothing of it is sure. */
interface Thrown {
  readonly code?: unknown
  readonly message?: unknown
  readonly statusCode?: unknown
  readonly problem?: unknown
  readonly headers?: unknown
  readonly retryAfterSeconds?: unknown
  readonly validation?: unknown
  readonly validationContext?: unknown
}

interface Meaning {
  readonly code: string
  readonly status: number
  readonly detail: string
}

/** The media type of a problem document, RFC 9457 section 3. */
export const problemType = 'application/problem+json'

/** Errors that are not ours, by the code they bear, and what clients are told of them. */
export const foreignErrors: Readonly<Record<string, Meaning>> = Object.freeze({
  FST_ERR_VALIDATION: { code: 'PRISM_ERR_VALIDATION', status: 400, detail: 'The input does not have the form that this route takes.' },
  FST_ERR_NOT_FOUND: { code: 'PRISM_ERR_NOT_FOUND', status: 404, detail: 'Nothing answers this path.' },
  FST_ERR_BAD_URL: { code: 'PRISM_ERR_URL', status: 400, detail: 'The path cannot be decoded.' },
  FST_ERR_MAX_PARAM_LENGTH: { code: 'PRISM_ERR_URL_TOO_LONG', status: 414, detail: 'A part of the path is too long.' },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'PRISM_ERR_BODY_TOO_LARGE', status: 413, detail: 'The body is larger than this route takes.' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { code: 'PRISM_ERR_MEDIA_TYPE', status: 415, detail: 'The body is of a media type that this route does not take.' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'PRISM_ERR_BODY_LENGTH', status: 400, detail: 'The body is not as long as Content-Length says.' },
  FST_ERR_CTP_EMPTY_JSON_BODY: { code: 'PRISM_ERR_JSON', status: 400, detail: 'The body is empty, but said to be JSON.' },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'PRISM_ERR_JSON', status: 400, detail: 'The body is not JSON.' },
  FST_ERR_HANDLER_TIMEOUT: { code: 'PRISM_ERR_TIMEOUT', status: 503, detail: 'The answer took too long.' },
  ERR_HTTP_REQUEST_TIMEOUT: { code: 'PRISM_ERR_REQUEST_TIMEOUT', status: 408, detail: 'The request took too long to arrive.' },
  HPE_HEADER_OVERFLOW: { code: 'PRISM_ERR_FIELDS_TOO_LARGE', status: 431, detail: 'The header fields are larger than 16 KiB together.' },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { code: 'PRISM_ERR_BODY_TOO_LARGE', status: 413, detail: 'The extensions of a chunk are too large.' }
})

/** What clients are told when nothing better is known. */
export const plainErrors = Object.freeze({
  malformed: { code: 'PRISM_ERR_MALFORMED', status: 400, detail: 'The request is not HTTP that can be read.' },
  request: { code: 'PRISM_ERR_REQUEST', status: 400, detail: 'The request cannot be answered.' },
  unavailable: { code: 'PRISM_ERR_UNAVAILABLE', status: 503, detail: 'This cannot be answered now; try again later.' },
  internal: { code: 'PRISM_ERR_INTERNAL', status: 500, detail: 'Something went wrong here; the log has this request under its id.' }
}) satisfies Readonly<Record<string, Meaning>>

/**
 * Makes the problem document of anything that was thrown.
 *
 * An error below 500 tells its message: who threw it meant it for the client. From 500 on nothing but the code leaves,
 * because such a message may hold a key, an address or somebody's data. An error's `problem` adds members.
 *
 * @param requestId becomes `instance`
 */
export function problemOf (error: unknown, requestId: string): Problem {
  try {
    return documentOf(thrownOf(error), requestId)
  } catch { // a property of what was thrown cannot be read
    return documentOf({}, requestId)
  }
}

/** Writes a problem document. Members that an error added and that JSON cannot say are left out: they never keep the client from being told the rest. */
export function writeProblem (problem: Problem): Buffer {
  try {
    return Buffer.from(JSON.stringify(problem))
  } catch { // a circle, a bigint, or a depth that the stack has no room for
    const { type, title, status, detail, code, instance } = problem
    return Buffer.from(JSON.stringify({ type: String(type), title: String(title), status, detail, code, instance }))
  }
}

function documentOf (thrown: Thrown, requestId: string): Problem {
  const { code, status, detail } = meaningOf(thrown)
  const title = STATUS_CODES[status] ?? 'Error'
  return { type: 'about:blank', title, ...extensionsOf(thrown), status, detail, code, instance: requestId, ...inputFaultsOf(thrown) }
}

/**
 * The header fields that an error asks for: those of its `headers`, and `Retry-After` (RFC 9110 section 10.2.3) from its `retryAfterSeconds`.
 * A 503 that names no time says one second, which is how often a lost Redis is looked for.
 */
export function problemFields (error: unknown): Record<string, string> {
  try {
    return fieldsOf(thrownOf(error))
  } catch { // a property of what was thrown cannot be read
    return {}
  }
}

/** Whether Node sends this field: it throws for a name that is no token, and for characters that no value may hold. */
export function isValidField (name: string, value: unknown): boolean {
  try {
    validateHeaderName(name)
    for (const each of [value].flat()) validateHeaderValue(name, each as string)
    return true
  } catch {
    return false
  }
}

function fieldsOf (thrown: Thrown): Record<string, string> {
  const fields = Object.entries(isRecord(thrown.headers) ? thrown.headers : {})
    .map(([name, value]) => [name.toLowerCase(), String(value)] as const)
    .filter(([name, value]) => !ofTheBody.has(name) && isValidField(name, value))
  const seconds = typeof thrown.retryAfterSeconds === 'number' ? Math.max(0, Math.ceil(thrown.retryAfterSeconds)) : undefined
  const wait = seconds ?? (meaningOf(thrown).status === 503 ? 1 : undefined)
  return { ...(wait === undefined ? {} : { 'retry-after': String(wait) }), ...Object.fromEntries(fields) }
}

/** Fields that describe another body than the problem document, or how it was sent. */
const ofTheBody = new Set(['connection', 'content-encoding', 'content-length', 'content-type', 'transfer-encoding'])

function meaningOf (thrown: Thrown): Meaning {
  const code = typeof thrown.code === 'string' ? thrown.code : ''
  const foreign = thrown.validation === undefined ? foreignErrors[code] : foreignErrors.FST_ERR_VALIDATION
  if (foreign !== undefined) return foreign
  if (code.startsWith('HPE_')) return plainErrors.malformed

  const status = typeof thrown.statusCode === 'number' && thrown.statusCode >= 400 && thrown.statusCode <= 599 ? thrown.statusCode : 500
  const isOurs = code.startsWith('PRISM_ERR_')
  if (status < 500) return { code: isOurs ? code : plainErrors.request.code, status, detail: messageOf(thrown) }
  const plain = status === 503 ? plainErrors.unavailable : plainErrors.internal
  return { code: isOurs ? code : plain.code, status, detail: plain.detail }
}

function messageOf ({ message }: Thrown): string {
  return typeof message === 'string' && message !== '' ? message : plainErrors.request.detail
}

/** What an error's `problem` adds; the members that are ours stand. */
function extensionsOf ({ problem }: Thrown): Record<string, unknown> {
  return isRecord(problem) ? problem : {}
}

/** Characters of a member's name, or of the path to it, that a document repeats. */
const longestName = 200

const places: Readonly<Record<string, InputFault['in']>> = { querystring: 'query', params: 'path', headers: 'header' }

/** What ajv found, in words that repeat none of the input's values. */
function inputFaultsOf ({ validation, validationContext }: Thrown): { errors?: InputFault[] } {
  if (!Array.isArray(validation)) return {}
  const place = typeof validationContext === 'string' ? places[validationContext] : undefined
  return { errors: validation.filter(isRecord).map((found) => inputFaultOf(found, place)) }
}

function inputFaultOf (found: Readonly<Record<string, unknown>>, place: InputFault['in']): InputFault {
  const params = isRecord(found.params) ? found.params : {}
  const path = typeof found.instancePath === 'string' ? found.instancePath : ''
  const name = params.missingProperty ?? params.additionalProperty
  const pointer = typeof name === 'string' ? `${cut(path)}/${cut(name).replaceAll('~', '~0').replaceAll('/', '~1')}` : cut(path)
  const allowed = Array.isArray(params.allowedValues) ? `: ${params.allowedValues.join(', ')}` : ''
  const detail = `${typeof name === 'string' && params.additionalProperty === name ? 'is not known here' : String(found.message ?? 'is wrong')}${allowed}`
  return place === undefined ? { pointer: `#${encodeURI(pointer)}`, detail } : { parameter: pointer.slice(1), in: place, detail }
}

/** A name that a client chose may be as long as a body, and end in half a character: encodeURI throws for that. */
function cut (name: string): string {
  return (name.length > longestName ? `${name.slice(0, longestName)}…` : name).toWellFormed()
}

function thrownOf (error: unknown): Thrown {
  return isRecord(error) ? error : {}
}

function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
