import { parseGroups } from '../../http/cache-groups.ts'
import { formatHttpDate } from '../../http/date.ts'
import { makeEntityTag } from '../../http/entity-tag.ts'
import { parseVary } from '../../http/vary.ts'
import { digestHeaders } from '../../http/digests.ts'
import { browserControl, membersOf } from './browser-cache-control.ts'
import { fewestBytes, mayCompress } from './compression.ts'
import { fieldOf } from '../storage/entry-codec.ts'
import type { Entry, Lifetime } from '../storage/entry-codec.ts'
import { controlOf } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import type { CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { HandlerRun } from '../request-state.ts'
import { joinFields } from './send-entry.ts'
import { wallMs } from '../../shared/clock.ts'

/** Headers that belong to one connection, or that are generated for each response (RFC 9111 section 3.1). */
const neverStored = new Set(['set-cookie', 'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'age'])

const nothing: ReadonlySet<string> = new Set()

/** The headers added by the handler that may be stored. */
export function storableFields (added: ReadonlyMap<string, Fields[string]>, { connection }: Fields, without: ReadonlySet<string>): Map<string, Fields[string]> {
  const dropped = connection === undefined ? nothing : new Set(String(connection).toLowerCase().split(',').map((name) => name.trim()))
  const storedFields = new Map<string, Fields[string]>()
  for (const [name, value] of added) {
    if (neverStored.has(name) || dropped.has(name) || without.has(name)) continue
    storedFields.set(name, value)
  }
  return storedFields
}

/** The headers that the handler added or set again; for `Vary` and `Set-Cookie`, only the members it added. */
export function addedFields ({ before, written, tracker }: Pick<HandlerRun, 'before' | 'written' | 'tracker'>, after: Fields): Map<string, Fields[string]> {
  const added = new Map<string, Fields[string]>()
  for (const name of Object.keys(after)) {
    const value = after[name]
    const own = written?.get(name)
    if (value === undefined || (own === undefined && String(value) === String(before[name] ?? ''))) continue
    if (name === 'vary' && before.vary !== undefined) added.set(name, own === undefined ? withoutMembers(value, before.vary) : ownMembers(own, before.vary, tracker !== undefined))
    else if (name === 'set-cookie' && before[name] !== undefined) added.set(name, own ?? [value].flat().map(String).filter((each) => ![before[name]].flat().includes(each)))
    else added.set(name, value)
  }
  return added
}

/** The members of `Vary` that the handler has set. Without tracking it sees those of hooks, and helpers repeat them in front of its own. */
function ownMembers (own: Fields[string], before: Fields[string], isHidden: boolean): string {
  const text = [own].flat().join(', ')
  const repeated = `${[before].flat().join(', ')}, `
  return !isHidden && text.startsWith(repeated) ? text.slice(repeated.length) : text
}

/** Headers of a response that belong to the request, or that caches on the way need, although the handler has removed them. */
const neverRemoved = new Set(['set-cookie', 'vary', 'cache-status'])

/** Names of headers that hooks had set and the handler has removed; undefined for none. */
export function removedFields (before: Fields, after: Fields): readonly string[] | undefined {
  const removed = Object.keys(before).filter((name) => before[name] !== undefined && after[name] === undefined && !neverRemoved.has(name))
  return removed.length === 0 ? undefined : removed
}

function withoutMembers (value: Fields[string], before: Fields[string]): string {
  const existing = parseVary(before)
  const names = parseVary(value)
  return names === '*' ? '*' : names.filter((name) => !existing.includes(name)).join(', ')
}

/** Adds the headers that a cached response needs, to the reply and to the stored headers: `ETag`, `Date`, `Vary`, `Cache-Control`. */
export function completeFields (reply: CacheReply, storedFields: Map<string, Fields[string]>, policy: RoutePolicy, body: Buffer | undefined): void {
  const add = (name: string, value: string) => {
    storedFields.set(name, value)
    reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary') ?? undefined, value) : value)
  }
  if (policy.ttlMs !== undefined && reply.statusCode === 200 && body !== undefined && !storedFields.has('etag')) add('etag', makeEntityTag(body))
  // RFC 9110 section 6.6.1: Expires is relative to Date, the time at which the response was made.
  if (!storedFields.has('date') && (policy.ttlMs === undefined || storedFields.has('expires'))) add('date', formatHttpDate(wallMs()))
  if (policy.vary.length > 0) add('vary', joinFields(storedFields.get('vary'), policy.vary.join(', ')))
  const own = storedFields.get('cache-control')
  // The handler's own field is stored. The browser's max-age is computed each time the entry is sent.
  if (policy.browser !== undefined) reply.header('cache-control', browserControl(Object.fromEntries(storedFields), policy.browser, 0))
  else if (policy.partition !== undefined) add('cache-control', own === undefined ? 'private, no-cache' : joinFields('private', String(own)))
  else if (own === undefined && policy.ttlMs !== undefined) add('cache-control', 'no-cache')
}

/** Whether the body will be stored compressed. If so, adds `Vary: Accept-Encoding` to the reply and to the stored headers. */
export function isCoded (reply: CacheReply, storedFields: Map<string, Fields[string]>, policy: RoutePolicy, bytes: number): boolean {
  if (policy.compression === 'identity' || bytes < fewestBytes) return false
  const { control } = controlOf(Object.fromEntries(storedFields))
  const type = storedFields.get('content-type')
  if (!mayCompress(bytes, type === undefined ? undefined : String(type), storedFields.get('content-encoding') as string | undefined, !control.noTransform)) return false
  storedFields.set('vary', joinFields(storedFields.get('vary'), 'accept-encoding'))
  reply.header('vary', joinFields(reply.getHeader('vary') ?? undefined, 'accept-encoding'))
  return true
}

/** Converts headers to the pairs of an entry. Several values of one header are joined (RFC 9110 section 5.3), except `Set-Cookie`. */
export function fieldPairs (storedFields: ReadonlyMap<string, Fields[string]>): [string, string][] {
  const pairs: [string, string][] = []
  const add = (name: string, value: string) => pairs.push([name, /[\r\n]/.test(value) ? value.replaceAll(/[\r\n]/g, ' ') : value])
  for (const [name, value] of storedFields) {
    if (!Array.isArray(value)) add(name, String(value))
    else add(name, value.join(', '))
  }
  return pairs
}

/** The tags of a response: from the route, added by the handler, and its cache groups (RFC 9875). */
export function tagsOf (chosen: readonly string[], added: readonly string[], storedFields: ReadonlyMap<string, Fields[string]>): readonly string[] {
  if (added.length === 0 && !storedFields.has('cache-groups')) return chosen
  return [...new Set([...chosen, ...added, ...parseGroups(storedFields.get('cache-groups')).filter((group) => group !== '' && !group.startsWith('='))])]
}

/** Shortens a route's `ttl` by up to 10 %, so that entries stored together do not expire together. */
export function shortened (lifetime: Lifetime): Lifetime {
  return { ...lifetime, freshMs: Math.round(lifetime.freshMs * (1 - Math.random() / 10)) }
}

/**
 * Stored headers without what {@link completeFields} and {@link isCoded} added on a route with a `ttl`: a decision about the response must not be based
 * on them. A handler's own `no-cache`, and its `Vary` of a header that the route does not list, are never stored on such a route.
 */
export function withoutOwnFields (stale: Entry, policy: Pick<RoutePolicy, 'ttlMs' | 'vary'>): Entry {
  if (policy.ttlMs === undefined) return stale
  const strip = (name: string, value: string) => {
    if (name === 'cache-control') return membersOf(value).filter((member) => member.toLowerCase() !== 'no-cache').join(', ')
    return name === 'vary' ? value.split(',').map((member) => member.trim()).filter((member) => member.toLowerCase() !== 'accept-encoding' || policy.vary.includes('accept-encoding')).join(', ') : value
  }
  return { ...stale, fields: stale.fields.map(([name, value]) => [name, strip(name, value)] as const).filter(([, value]) => value !== '') }
}

/** The stored headers, updated from a 304 or HEAD response (RFC 9111 sections 3.2 and 4.3.4). Headers that describe the body are not updated. */
export function freshened (stale: Entry, storedFields: ReadonlyMap<string, Fields[string]>): Map<string, Fields[string]> {
  const fields = new Map<string, Fields[string]>()
  for (const [name, value] of stale.fields) {
    const before = fields.get(name)
    fields.set(name, before === undefined ? value : [before, value].flat().map(String))
  }
  // A validated response is as old as its validation.
  fields.delete('date')
  for (const [name, value] of storedFields) if (!bodyHeaders.has(name)) fields.set(name, value)
  return fields
}

/** Whether a HEAD response describes the stored response: validators and length must match where present (RFC 9111 section 4.3.5). */
export function matchesStored (stored: Entry, received: ReadonlyMap<string, Fields[string]>): boolean {
  const length = received.get('content-length')
  const isAsLong = length === undefined || stored.coding !== 'identity' || Number(length) === stored.body.length
  return isAsLong && ['etag', 'last-modified'].every((name) => received.get(name) === undefined || String(received.get(name)) === fieldOf(stored, name))
}

const bodyHeaders = new Set(['content-encoding', 'content-length', 'content-range', 'etag', ...digestHeaders])
