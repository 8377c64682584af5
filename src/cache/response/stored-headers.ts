import { parseGroups } from '../../http/cache-groups.ts'
import { formatHttpDate } from '../../http/date.ts'
import { makeEntityTag } from '../../http/entity-tag.ts'
import { parseVary } from '../../http/vary.ts'
import { browserControl } from './browser-cache-control.ts'
import { fewestBytes, mayCompress } from './compression.ts'
import { fieldOf } from '../storage/entry-codec.ts'
import type { Entry, Lifetime } from '../storage/entry-codec.ts'
import { controlOf } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import type { CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import { joinFields } from './send-entry.ts'

/** Response fields that speak of one connection, or that each answer is given anew (RFC 9111 section 3.1). */
const neverKept = new Set(['set-cookie', 'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'age'])

const nothing: ReadonlySet<string> = new Set()

/** Of the fields that a handler added, those that may be kept. */
export function keptFields (added: ReadonlyMap<string, Fields[string]>, { connection }: Fields, without: ReadonlySet<string>): Map<string, Fields[string]> {
  const dropped = connection === undefined ? nothing : new Set(String(connection).toLowerCase().split(',').map((name) => name.trim()))
  const kept = new Map<string, Fields[string]>()
  for (const [name, value] of added) {
    if (neverKept.has(name) || dropped.has(name) || without.has(name)) continue
    kept.set(name, value)
  }
  return kept
}

/** What a handler added to a reply; of a list that it added to, its own members. */
export function addedFields (before: Fields, after: Fields): Map<string, Fields[string]> {
  const added = new Map<string, Fields[string]>()
  for (const name of Object.keys(after)) {
    const value = after[name]
    if (value === undefined || String(value) === String(before[name] ?? '')) continue
    if (name === 'vary' && before.vary !== undefined) added.set(name, withoutMembers(value, before.vary))
    else if (name === 'set-cookie' && before[name] !== undefined) added.set(name, [value].flat().map(String).filter((each) => ![before[name]].flat().includes(each)))
    else added.set(name, value)
  }
  return added
}

function withoutMembers (value: Fields[string], before: Fields[string]): string {
  const stood = parseVary(before)
  const names = parseVary(value)
  return names === '*' ? '*' : names.filter((name) => !stood.includes(name)).join(', ')
}

/** Adds what a kept answer must say of itself, to the reply and to what is kept. */
export function completeFields (reply: CacheReply, kept: Map<string, Fields[string]>, policy: RoutePolicy, body: Buffer | undefined): void {
  const add = (name: string, value: string) => {
    kept.set(name, value)
    reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary') ?? undefined, value) : value)
  }
  if (policy.ttlMs !== undefined && reply.statusCode === 200 && body !== undefined && !kept.has('etag')) add('etag', makeEntityTag(body))
  // RFC 9110 section 6.6.1: what Expires counts from is when it was made, not when it leaves.
  if (!kept.has('date') && (policy.ttlMs === undefined || kept.has('expires'))) add('date', formatHttpDate(Date.now()))
  if (policy.vary.length > 0) add('vary', joinFields(kept.get('vary'), policy.vary.join(', ')))
  const own = kept.get('cache-control')
  // The handler's own field is kept: each answer is told how long it may be kept when it leaves.
  if (policy.browser !== undefined) reply.header('cache-control', browserControl(Object.fromEntries(kept), policy.browser, 0))
  else if (policy.partition !== undefined) add('cache-control', own === undefined ? 'private, no-cache' : joinFields('private', String(own)))
  else if (own === undefined && policy.ttlMs !== undefined) add('cache-control', 'no-cache')
}

/** Whether a body will be kept compressed; then its answers vary by what clients accept, this one too. */
export function isCoded (reply: CacheReply, kept: Map<string, Fields[string]>, policy: RoutePolicy, bytes: number): boolean {
  if (policy.compression === 'identity' || bytes < fewestBytes) return false
  const { control } = controlOf(Object.fromEntries(kept))
  const type = kept.get('content-type')
  if (!mayCompress(bytes, type === undefined ? undefined : String(type), kept.get('content-encoding') as string | undefined, !control.noTransform)) return false
  kept.set('vary', joinFields(kept.get('vary'), 'accept-encoding'))
  reply.header('vary', joinFields(reply.getHeader('vary') ?? undefined, 'accept-encoding'))
  return true
}

/** Makes the pairs that an entry holds; several values of one field are joined (RFC 9110 section 5.3). */
export function fieldPairs (kept: ReadonlyMap<string, Fields[string]>): [string, string][] {
  const pairs: [string, string][] = []
  const add = (name: string, value: string) => pairs.push([name, /[\r\n]/.test(value) ? value.replaceAll(/[\r\n]/g, ' ') : value])
  for (const [name, value] of kept) {
    if (!Array.isArray(value)) add(name, String(value))
    else add(name, value.join(', '))
  }
  return pairs
}

/** The tags of an answer: those that its route chose, that were added while it was made, and its groups (RFC 9875). */
export function tagsOf (chosen: readonly string[], added: readonly string[], kept: ReadonlyMap<string, Fields[string]>): readonly string[] {
  if (added.length === 0 && !kept.has('cache-groups')) return chosen
  return [...new Set([...chosen, ...added, ...parseGroups(kept.get('cache-groups')).filter((group) => group !== '' && !group.startsWith('='))])]
}

/** What was filled together shall not expire together: a route's own lifetime is cut by up to a tenth. */
export function shortened (lifetime: Lifetime): Lifetime {
  return { ...lifetime, freshMs: Math.round(lifetime.freshMs * (1 - Math.random() / 10)) }
}

/** What a validation confirmed, with the fields that it brought (RFC 9111 sections 3.2 and 4.3.4); those that describe the body stay. */
export function freshened (stale: Entry, kept: ReadonlyMap<string, Fields[string]>): Map<string, Fields[string]> {
  const fields = new Map<string, Fields[string]>()
  for (const [name, value] of stale.fields) {
    const before = fields.get(name)
    fields.set(name, before === undefined ? value : [before, value].flat().map(String))
  }
  // What was confirmed is as old as its confirmation.
  fields.delete('date')
  for (const [name, value] of kept) if (!ofTheBody.has(name)) fields.set(name, value)
  return fields
}

/** Whether fields of a HEAD's answer are of the answer that is stored: each validator that they name is its own, and the length (RFC 9111 section 4.3.5). */
export function isSameAnswer (stored: Entry, told: ReadonlyMap<string, Fields[string]>): boolean {
  const length = told.get('content-length')
  const isAsLong = length === undefined || stored.coding !== 'identity' || Number(length) === stored.body.length
  return isAsLong && ['etag', 'last-modified'].every((name) => told.get(name) === undefined || String(told.get(name)) === fieldOf(stored, name))
}

const ofTheBody = new Set(['content-encoding', 'content-length', 'content-md5', 'content-range', 'etag'])
