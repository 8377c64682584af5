import { SessionCorruptError } from '../shared/errors.ts'

/** The stored form of a session. Times are milliseconds since 1970 by Redis's clock; the document is JSON text. */
interface SessionRecord {
  readonly version: string
  readonly createdAt: number
  readonly absoluteEndAt: number
  readonly idleMs: number
  readonly idleEndAt: number
  readonly seenAt: number
  readonly label: string | undefined
  readonly document: string
}

/** After the label there may be `@` and the expiry of a moving mark: see `mark-moving.lua`. */
const form = /^\d+ (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) =([^\s@]*)\S* /

/**
 * Parses a stored value; the document is not parsed.
 *
 * @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT
 */
export function readSessionRecord (value: string): SessionRecord {
  const [head, version = '', createdAt, absoluteEndAt, idleMs, idleEndAt, seenAt, label = ''] = form.exec(value) ?? []
  if (head === undefined) throw new SessionCorruptError()
  return {
    version,
    createdAt: Number(createdAt),
    absoluteEndAt: Number(absoluteEndAt),
    idleMs: Number(idleMs),
    idleEndAt: Number(idleEndAt),
    seenAt: Number(seenAt),
    label: label === '' ? undefined : decodeURIComponent(label),
    document: value.slice(head.length)
  }
}

/** Encodes a label for a stored value: never empty and without spaces. */
export function writeLabel (label: string | undefined): string {
  return `=${label === undefined ? '' : encodeURIComponent(label)}`
}
