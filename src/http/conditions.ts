import { parseHttpDate } from './date.ts'
import { isEntityTag, matchesStrongly, matchesWeakly } from './entity-tag.ts'

type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

/** The validators of a stored response. */
export interface Validators {
  readonly entityTags: readonly string[]
  readonly lastModified: string | undefined
  /** value of its `Date` header */
  readonly date?: string | undefined
}

/**
 * Whether a precondition fails, status 412 (RFC 9110 section 13.2.2). `If-Unmodified-Since` is used only without `If-Match`.
 */
export function isPreconditionFailed (fields: RequestHeaders, { entityTags, lastModified }: Validators): boolean {
  const match = fields['if-match']
  if (match !== undefined) return String(match).trim() !== '*' && !entityTags.some((entityTag) => matchesStrongly(String(match), entityTag))
  const since = parseHttpDate(fields['if-unmodified-since'])
  const modified = parseHttpDate(lastModified)
  return since !== undefined && modified !== undefined && modified > since
}

/**
 * Whether the client has this response already, status 304 (RFC 9110 section 13.2.2). `If-Modified-Since` is used only without `If-None-Match`.
 */
export function isNotModified (fields: RequestHeaders, { entityTags, lastModified, date }: Validators): boolean {
  const noneMatch = fields['if-none-match']
  if (noneMatch !== undefined) {
    const field = String(noneMatch)
    return entityTags.length === 0 ? matchesWeakly(field, undefined) : entityTags.some((entityTag) => matchesWeakly(field, entityTag))
  }
  const since = parseHttpDate(fields['if-modified-since'])
  // RFC 9111 section 4.3.2: without Last-Modified, the Date of the response is used.
  const modified = parseHttpDate(lastModified ?? date)
  return since !== undefined && modified !== undefined && modified <= since
}

/** Whether `If-Range` allows a partial response (RFC 9110 section 13.1.5): the same strong entity tag, or the exact Last-Modified date if that is a strong validator. */
export function isSameRange (fields: RequestHeaders, { entityTags, lastModified, date }: Validators): boolean {
  const field = fields['if-range']
  if (field === undefined) return true
  const text = String(field).trim()
  if (isEntityTag(text)) return matchesStrongly(text, entityTags[0])
  return text === lastModified && isStrong(parseHttpDate(lastModified), parseHttpDate(date))
}

/** A response made within one second of its last change may have changed again in that second (RFC 9110 section 8.8.2.2). */
function isStrong (modified: number | undefined, made: number | undefined): boolean {
  return modified !== undefined && (made === undefined || made - modified >= 1000)
}
