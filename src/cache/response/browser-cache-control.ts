import { parseCacheControl } from '../../http/cache-control.ts'
import { parseHttpDate } from '../../http/date.ts'
import type { Fields } from '../freshness.ts'

/** How long browsers may keep a route's answers without asking again. */
export interface BrowserPolicy {
  readonly seconds: number
  /** the route has a partition, or is for signed-in users: no cache that clients share may keep its answers */
  readonly isGuarded: boolean
}

/**
 * The `Cache-Control` of an answer that browsers may keep. It is `private`, unless the handler itself named other caches and the route is not guarded.
 * It permits nothing that the handler's own field does not: its lifetime may only be shorter than said there, and all other directives are passed on.
 *
 * @param fields those of the handler's answer
 * @param ageSeconds how old the answer is: a browser takes its `Age` off
 */
export function browserControl (fields: Fields, { seconds, isGuarded }: BrowserPolicy, ageSeconds: number): string {
  const own = fields['cache-control']
  if (own === undefined && fields.expires === undefined) return `private, max-age=${seconds + ageSeconds}`
  const field = [own ?? []].flat().join(', ')
  const control = parseCacheControl(field)
  const isShared = !isGuarded && control.private === false && (control.public || control.sMaxage !== undefined)
  const dropped = isShared ? /^max-age\b/i : /^(?:max-age|s-maxage|public|private)\b/i
  const rest = membersOf(field).filter((member) => !dropped.test(member))
  // What must be asked for each time, or not kept at all, has no lifetime.
  const mayKeep = control.noCache !== true && !control.noStore
  const lifetime = Math.min(seconds + ageSeconds, control.maxAge ?? expiresIn(fields))
  return [...isShared ? [] : ['private'], ...mayKeep ? [`max-age=${lifetime}`] : [], ...rest].join(', ')
}

/** RFC 9111 section 5.3: what is no date lies in the past. */
function expiresIn ({ expires, date }: Fields): number {
  if (expires === undefined) return Infinity
  const now = Date.now()
  const until = typeof expires === 'object' ? undefined : parseHttpDate(expires, now)
  return until === undefined ? 0 : Math.max(0, Math.floor((until - (parseHttpDate(date, now) ?? now)) / 1000))
}

/** The members of a list; a comma inside quotes parts none (RFC 9110 section 5.6.1). */
export function membersOf (field: string): string[] {
  const members: string[] = []
  let start = 0
  let isQuoted = false
  for (let index = 0; index < field.length; index++) {
    const character = field[index]
    if (isQuoted && character === '\\') index++
    else if (character === '"') isQuoted = !isQuoted
    else if (character === ',' && !isQuoted) {
      members.push(field.slice(start, index).trim())
      start = index + 1
    }
  }
  members.push(field.slice(start).trim())
  return members.filter((member) => member !== '')
}
