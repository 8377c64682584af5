import { hash } from 'node:crypto'

// Entity tags, RFC 9110 section 8.8.3: `"opaque"` is strong, `W/"opaque"` is weak.
const tag = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g
const oneTag = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/

/** A strong entity tag: a hash of the body's bytes. */
export function makeEntityTag (body: Buffer | string): string {
  return `"${hash('sha256', body, 'base64url').slice(0, 22)}"`
}

/** Whether a header's value is exactly one entity tag. */
export function isEntityTag (value: unknown): value is string {
  return typeof value === 'string' && oneTag.test(value)
}

/**
 * Whether `If-None-Match` names this tag, by weak comparison (RFC 9110 sections 8.8.3.2 and 13.1.2).
 *
 * @param field the header's raw value; `*` matches any tag
 */
export function matchesWeakly (field: string, entityTag: string | undefined): boolean {
  if (field.trim() === '*') return true
  if (entityTag === undefined) return false
  const opaque = withoutWeakness(entityTag)
  if (!field.includes(opaque)) return false
  return field.match(tag)?.some((each) => withoutWeakness(each) === opaque) ?? false
}

/** Whether `If-Match` or `If-Range` names this tag, by strong comparison: neither may be weak (RFC 9110 section 8.8.3.2). */
export function matchesStrongly (field: string, entityTag: string | undefined): boolean {
  if (field.trim() === '*') return true
  if (entityTag === undefined || entityTag.startsWith('W/') || !field.includes(entityTag)) return false
  return field.match(tag)?.includes(entityTag) ?? false
}

function withoutWeakness (entityTag: string): string {
  return entityTag.startsWith('W/') ? entityTag.slice(2) : entityTag
}
