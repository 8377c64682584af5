import { parseCacheControl } from '../../http/cache-control.ts'
import { parseHttpDate } from '../../http/date.ts'
import type { Fields } from '../freshness.ts'
import { wallMs } from '../../shared/clock.ts'

/** `cache.browserMaxAge` of a route. */
export interface BrowserPolicy {
  readonly seconds: number
  /** the route has a partition or requires a signed-in user: shared caches may not store its responses */
  readonly isGuarded: boolean
}

/**
 * The `Cache-Control` sent to browsers. It is `private`, unless the handler permits shared caches and the route is not guarded.
 * It never permits more than the handler's own header: its `max-age` is an upper limit, and all other directives are passed on.
 *
 * @param fields headers of the handler's response
 * @param ageSeconds age of the response; added to `max-age`, because a browser subtracts `Age`
 */
export function browserControl (fields: Fields, { seconds, isGuarded }: BrowserPolicy, ageSeconds: number): string {
  const own = fields['cache-control']
  if (own === undefined && fields.expires === undefined) return `private, max-age=${seconds + ageSeconds}`
  const field = [own ?? []].flat().join(', ')
  const control = parseCacheControl(field)
  const isShared = !isGuarded && control.private === false && (control.public || control.sMaxage !== undefined)
  const dropped = isShared ? /^max-age\b/i : /^(?:max-age|s-maxage|public|private)\b/i
  const rest = membersOf(field).filter((member) => !dropped.test(member))
  // no-cache and no-store exclude max-age.
  const hasMaxAge = control.noCache !== true && !control.noStore
  const lifetime = Math.min(seconds + ageSeconds, control.maxAge ?? expiresIn(fields))
  return [...isShared ? [] : ['private'], ...hasMaxAge ? [`max-age=${lifetime}`] : [], ...rest].join(', ')
}

/** Seconds until `Expires`. An invalid date means already expired (RFC 9111 section 5.3). */
function expiresIn ({ expires, date }: Fields): number {
  if (expires === undefined) return Infinity
  const now = wallMs()
  const until = typeof expires === 'object' ? undefined : parseHttpDate(expires, now)
  return until === undefined ? 0 : Math.max(0, Math.floor((until - (parseHttpDate(date, now) ?? now)) / 1000))
}

/** Splits a list header at commas outside quoted strings (RFC 9110 section 5.6.1). */
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
