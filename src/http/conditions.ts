import { parseHttpDate } from './date.ts'
import { matchesStrongly, matchesWeakly } from './entity-tag.ts'

type AskedFields = Readonly<Record<string, string | string[] | undefined>>

/** What a stored answer's validators are compared with. */
export interface Validators {
  readonly entityTags: readonly string[]
  readonly lastModified: string | undefined
}

/**
 * Whether the client has this answer already (RFC 9110 section 13.2.2): `If-None-Match` decides, and only without it `If-Modified-Since`.
 */
export function isNotModified (fields: AskedFields, { entityTags, lastModified }: Validators): boolean {
  const noneMatch = fields['if-none-match']
  if (noneMatch !== undefined) {
    const field = String(noneMatch)
    return entityTags.length === 0 ? matchesWeakly(field, undefined) : entityTags.some((entityTag) => matchesWeakly(field, entityTag))
  }
  const since = parseHttpDate(fields['if-modified-since'])
  const modified = parseHttpDate(lastModified)
  return since !== undefined && modified !== undefined && modified <= since
}

/** Whether `If-Range` lets a part be sent (RFC 9110 section 13.1.5): a strong tag that is this one, or the exact date. */
export function isSameRange (fields: AskedFields, { entityTags, lastModified }: Validators): boolean {
  const field = fields['if-range']
  if (field === undefined) return true
  const text = String(field).trim()
  return text.includes('"') ? matchesStrongly(text, entityTags[0]) : text === lastModified
}
