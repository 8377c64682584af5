import { copyRecord, hasValidator, isSame, validate } from '../handler/validated-inputs.ts'
import type { CacheRequest, RequestHeaders } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'

/** Headers and host of a request as its cache key contains them. Hooks and validation may change them afterwards. */
export interface KeyedFields {
  readonly headers: RequestHeaders
  /** '' where the key of the route never contains it */
  readonly host: string
}

/** `unknown`: something that a key cannot contain, such as an object. */
type Change = 'none' | 'other' | { readonly unknown: string }

/** Reads what the keys of one route contain of a request besides URL and partition, and tells whether it is still what the handler sees. */
export class KeyedFieldReader {
  readonly #policy: Pick<RoutePolicy, 'vary' | 'ttlMs' | 'hosts'>
  readonly #hasHost: boolean
  /** a key is made of URL and partition alone */
  readonly #isPlain: boolean

  constructor (policy: Pick<RoutePolicy, 'vary' | 'ttlMs' | 'hosts'>) {
    this.#policy = policy
    this.#hasHost = policy.ttlMs === undefined || policy.hosts !== undefined
    this.#isPlain = !this.#hasHost && policy.vary.length === 0
  }

  read (request: CacheRequest): KeyedFields {
    if (this.#isPlain) return nothing
    return { headers: this.#headersOf(request), host: this.#hasHost ? request.host : '' }
  }

  /** A copy of what may be compared later: validation and hooks change headers in place. A response with `ttl: 'response'` may vary by any header. */
  #headersOf (request: CacheRequest): RequestHeaders {
    const { headers } = request
    const { vary, ttlMs } = this.#policy
    if (hasValidator(request, 'headers')) return { ...headers }
    if (ttlMs !== undefined) return chosen(headers, vary)
    return vary.length === 0 ? headers : { ...headers }
  }

  /** What hooks have changed since the fields were read. What validation makes of them is a function of the key. */
  changeSince (keyed: KeyedFields, request: CacheRequest): Change {
    if (this.#isPlain) return 'none'
    const changed = this.#changedNames(keyed, request)
    if (changed.length === 0) return 'none'
    const { headers, raw } = request
    const unknown = changed.find((name) => !isText(headers[name]) || raw.headers[name] !== headers[name])
    return unknown === undefined ? 'other' : { unknown }
  }

  #changedNames (keyed: KeyedFields, request: CacheRequest): readonly string[] {
    const { headers, host } = keyed
    const changed = this.#policy.vary.filter((name) => request.headers[name] !== headers[name])
    if (this.#hasHost && request.host !== host) changed.push('host')
    if (changed.length === 0 || !hasValidator(request, 'headers')) return changed
    const expected = validatedHeaders(request, headers)
    const isExpected = (name: string) => isSame(expected[name], request.headers[name])
    return changed.filter((name) => name === 'host' ? !hostNames.every(isExpected) : !isExpected(name))
  }
}

/** Headers that `request.host` may be made of. */
const hostNames = ['host', 'x-forwarded-host', ':authority']

/** What validation makes of headers: Ajv changes them in place, other validators add to them. */
function validatedHeaders (request: CacheRequest, headers: RequestHeaders): RequestHeaders {
  const copy = copyRecord(headers)
  const value = validate(request, 'headers', copy)?.value
  return value === copy ? copy as RequestHeaders : { ...headers, ...value as RequestHeaders | undefined }
}

const nothing: KeyedFields = Object.freeze({ headers: Object.freeze({}), host: '' })

function chosen (headers: RequestHeaders, names: readonly string[]): RequestHeaders {
  const fields: Record<string, string | string[] | undefined> = {}
  for (const name of names) fields[name] = headers[name]
  return fields
}

/** A value of a header, as received or as validation has converted it. */
function isText (value: unknown): boolean {
  return ['string', 'number', 'boolean', 'undefined'].includes(typeof value) || (Array.isArray(value) && value.every((each) => typeof each === 'string'))
}
