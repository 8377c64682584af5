import { parseHttpDate } from './date.ts'
import { isEntityTag, matchesStrongly, matchesWeakly } from './entity-tag.ts'

type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

/** What a stored answer's validators are compared with. */
export interface Validators {
  readonly entityTags: readonly string[]
  readonly lastModified: string | undefined
  /** when it was made, where it says so */
  readonly date?: string | undefined
}

/**
 * Whether the client wants this answer only if it were another one (RFC 9110 section 13.2.2): `If-Match` decides, and only without it `If-Unmodified-Since`.
 */
export function isPreconditionFailed (fields: RequestHeaders, { entityTags, lastModified }: Validators): boolean {
  const match = fields['if-match']
  if (match !== undefined) return String(match).trim() !== '*' && !entityTags.some((entityTag) => matchesStrongly(String(match), entityTag))
  const since = parseHttpDate(fields['if-unmodified-since'])
  const modified = parseHttpDate(lastModified)
  return since !== undefined && modified !== undefined && modified > since
}

/**
 * Whether the client has this answer already (RFC 9110 section 13.2.2): `If-None-Match` decides, and only without it `If-Modified-Since`.
 */
export function isNotModified (fields: RequestHeaders, { entityTags, lastModified, date }: Validators): boolean {
  const noneMatch = fields['if-none-match']
  if (noneMatch !== undefined) {
    const field = String(noneMatch)
    return entityTags.length === 0 ? matchesWeakly(field, undefined) : entityTags.some((entityTag) => matchesWeakly(field, entityTag))
  }
  const since = parseHttpDate(fields['if-modified-since'])
  // RFC 9111 section 4.3.2: without Last-Modified, the date of the answer is as good.
  const modified = parseHttpDate(lastModified ?? date)
  return since !== undefined && modified !== undefined && modified <= since
}

/** Whether `If-Range` lets a part be sent (RFC 9110 section 13.1.5): a strong tag that is this one, or the exact date of the last change, where that is strong. */
export function isSameRange (fields: RequestHeaders, { entityTags, lastModified, date }: Validators): boolean {
  const field = fields['if-range']
  if (field === undefined) return true
  const text = String(field).trim()
  if (isEntityTag(text)) return matchesStrongly(text, entityTags[0])
  return text === lastModified && isStrong(parseHttpDate(lastModified), parseHttpDate(date))
}

/** What was made within a second of its last change may have changed again in that second (RFC 9110 section 8.8.2.2). */
function isStrong (modified: number | undefined, made: number | undefined): boolean {
  return modified !== undefined && (made === undefined || made - modified >= 1000)
}
