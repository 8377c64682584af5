import { SessionCorruptError } from '../shared/errors.ts'

/** What Redis holds of a device's session: times by Redis's clock, milliseconds since 1970, and a document of JSON that is not parsed yet. */
export interface SessionRecord {
  readonly version: string
  readonly createdAt: number
  readonly absoluteEndAt: number
  readonly idleMs: number
  readonly idleEndAt: number
  readonly seenAt: number
  readonly label: string | undefined
  readonly document: string
}

/** After the label there may be `@` and the time at which a mark lapses: see `mark.lua`. */
const form = /^\d+ (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) =([^\s@]*)\S* /

/**
 * Reads a stored value, up to its document.
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

/** A label as it stands in a stored value: no space in it, and never empty. */
export function writeLabel (label: string | undefined): string {
  return `=${label === undefined ? '' : encodeURIComponent(label)}`
}
