import { STATUS_CODES, validateHeaderName, validateHeaderValue } from 'node:http'

/** A problem document (RFC 9457): an error as it is sent to a client. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  /** Stable error code for clients. */
  readonly code: string
  /** The request ID, as in the log. */
  readonly instance: string
  readonly [extension: string]: unknown
}

/** One validation error: in the body (`pointer`, an RFC 6901 fragment) or in a parameter. */
export interface InputFault {
  readonly pointer?: string
  readonly parameter?: string
  readonly in?: 'query' | 'path' | 'header'
  readonly detail: string
}

/** Properties that a thrown value may have, of any type. */
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

/** Errors of Fastify and Node by their code, and what is sent to clients for them. */
export const foreignErrors: Readonly<Record<string, Meaning>> = Object.freeze({
  FST_ERR_VALIDATION: { code: 'PRISM_ERR_VALIDATION', status: 400, detail: 'The input does not have the form that this route takes.' },
  FST_ERR_NOT_FOUND: { code: 'PRISM_ERR_NOT_FOUND', status: 404, detail: 'No route has this path.' },
  FST_ERR_BAD_URL: { code: 'PRISM_ERR_URL', status: 400, detail: 'The path cannot be decoded.' },
  FST_ERR_MAX_PARAM_LENGTH: { code: 'PRISM_ERR_URL_TOO_LONG', status: 414, detail: 'A part of the path is too long.' },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'PRISM_ERR_BODY_TOO_LARGE', status: 413, detail: 'The body is larger than this route takes.' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { code: 'PRISM_ERR_MEDIA_TYPE', status: 415, detail: 'The body is of a media type that this route does not take.' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'PRISM_ERR_BODY_LENGTH', status: 400, detail: 'The body is not as long as Content-Length says.' },
  FST_ERR_CTP_EMPTY_JSON_BODY: { code: 'PRISM_ERR_JSON', status: 400, detail: 'The body is empty, but said to be JSON.' },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'PRISM_ERR_JSON', status: 400, detail: 'The body is not JSON.' },
  FST_ERR_HANDLER_TIMEOUT: { code: 'PRISM_ERR_TIMEOUT', status: 503, detail: 'The response took too long.' },
  ERR_HTTP_REQUEST_TIMEOUT: { code: 'PRISM_ERR_REQUEST_TIMEOUT', status: 408, detail: 'The request took too long to arrive.' },
  HPE_HEADER_OVERFLOW: { code: 'PRISM_ERR_FIELDS_TOO_LARGE', status: 431, detail: 'The header fields are larger than 16 KiB together.' },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { code: 'PRISM_ERR_BODY_TOO_LARGE', status: 413, detail: 'The extensions of a chunk are too large.' }
})

/** Problems for errors without a known code. */
export const plainErrors = Object.freeze({
  malformed: { code: 'PRISM_ERR_MALFORMED', status: 400, detail: 'The request is not HTTP that can be read.' },
  request: { code: 'PRISM_ERR_REQUEST', status: 400, detail: 'The request is invalid.' },
  unavailable: { code: 'PRISM_ERR_UNAVAILABLE', status: 503, detail: 'This is not available now; try again later.' },
  internal: { code: 'PRISM_ERR_INTERNAL', status: 500, detail: 'Something went wrong here; the log has this request under its id.' }
}) satisfies Readonly<Record<string, Meaning>>

/**
 * Builds the problem document of any thrown value.
 *
 * Below status 500 the document contains the error's message, which is meant for the client. From 500 on only the code is sent, because the
 * message may contain a key, an address or personal data. The error's `problem` adds members.
 *
 * @param requestId becomes `instance`
 */
export function problemOf (error: unknown, requestId: string): Problem {
  try {
    return documentOf(thrownOf(error), requestId)
  } catch { // a getter of the thrown value threw
    return documentOf({}, requestId)
  }
}

/** Serializes a problem document. If a member that an error added cannot be serialized, only the standard members are sent. */
export function writeProblem (problem: Problem): Buffer {
  try {
    return Buffer.from(JSON.stringify(problem))
  } catch { // a circular reference, a bigint, or a stack overflow
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
 * The response headers of an error: its `headers`, and `Retry-After` (RFC 9110 section 10.2.3) from its `retryAfterSeconds`.
 * For any other error with status 503 it is 1 second, as for those of the package.
 */
export function problemFields (error: unknown): Record<string, string> {
  try {
    return fieldsOf(thrownOf(error))
  } catch { // a getter of the thrown value threw
    return {}
  }
}

/** Whether Node accepts this header: it throws for an invalid name or an invalid character in the value. */
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

/** Headers that would describe another body than the problem document, or its transfer. */
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

/** The members that an error's `problem` adds; they do not replace the standard members. */
function extensionsOf ({ problem }: Thrown): Record<string, unknown> {
  return isRecord(problem) ? problem : {}
}

/** Longest member name, or path to a member, that a document repeats, in characters. */
const longestName = 200

const locations: Readonly<Record<string, InputFault['in']>> = { querystring: 'query', params: 'path', headers: 'header' }

/** The errors of ajv, without any value of the input. */
function inputFaultsOf ({ validation, validationContext }: Thrown): { errors?: InputFault[] } {
  if (!Array.isArray(validation)) return {}
  const location = typeof validationContext === 'string' ? locations[validationContext] : undefined
  return { errors: validation.filter(isRecord).map((found) => inputFaultOf(found, location)) }
}

function inputFaultOf (found: Readonly<Record<string, unknown>>, location: InputFault['in']): InputFault {
  const params = isRecord(found.params) ? found.params : {}
  const path = typeof found.instancePath === 'string' ? found.instancePath : ''
  const name = params.missingProperty ?? params.additionalProperty
  const pointer = typeof name === 'string' ? `${cut(path)}/${cut(name).replaceAll('~', '~0').replaceAll('/', '~1')}` : cut(path)
  const allowed = Array.isArray(params.allowedValues) ? `: ${params.allowedValues.join(', ')}` : ''
  const detail = `${typeof name === 'string' && params.additionalProperty === name ? 'is not known here' : String(found.message ?? 'is wrong')}${allowed}`
  return location === undefined ? { pointer: `#${encodeURI(pointer)}`, detail } : { parameter: pointer.slice(1), in: location, detail }
}

/** Truncates a name, which a client may choose as long as the body, and replaces lone surrogates, for which encodeURI throws. */
function cut (name: string): string {
  return (name.length > longestName ? `${name.slice(0, longestName)}…` : name).toWellFormed()
}

function thrownOf (error: unknown): Thrown {
  return isRecord(error) ? error : {}
}

function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
