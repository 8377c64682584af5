import { longestListField } from './field-limit.ts'

/** What a field says of fields by name: all of the response, some of its fields, or nothing. */
export type Scope = true | readonly string[] | false

/** The directives of one or more `Cache-Control` fields, RFC 9111 section 5.2. Seconds; undefined where absent. */
export interface CacheControl {
  readonly maxAge?: number
  readonly sMaxage?: number
  readonly minFresh?: number
  /** Infinity where it has no argument */
  readonly maxStale?: number
  /** RFC 5861 */
  readonly staleWhileRevalidate?: number
  /** RFC 5861 */
  readonly staleIfError?: number
  readonly noCache: Scope
  readonly private: Scope
  readonly noStore: boolean
  readonly noTransform: boolean
  readonly onlyIfCached: boolean
  readonly mustRevalidate: boolean
  readonly mustUnderstand: boolean
  readonly proxyRevalidate: boolean
  readonly public: boolean
  readonly immutable: boolean
}

type Directives = Map<string, string | null>

const none: CacheControl = Object.freeze({
  noCache: false,
  private: false,
  noStore: false,
  noTransform: false,
  onlyIfCached: false,
  mustRevalidate: false,
  mustUnderstand: false,
  proxyRevalidate: false,
  public: false,
  immutable: false
})

/** What cannot be read at all: nothing is kept, and nothing that was kept is used. */
const strictest: CacheControl = Object.freeze({ ...none, noCache: true, private: true, noStore: true })

/** RFC 9111 section 1.2.2: what is larger counts as this. */
const mostSeconds = 2 ** 31

// token [ "=" ( token / quoted-string ) ], RFC 9110 section 5.6, without the spaces around it. A run of spaces can be matched by one `\s*` only.
const directive = /^([!#$%&'*+\-.^_`|~\w]+)(?:\s*=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s"]*)))?$/
const name = /^[!#$%&'*+\-.^_`|~\w]+/
const [quote, comma, backslash] = [0x22, 0x2c, 0x5c]
const restricting = /\b(?:no-store|private|no-cache)\b/gi

/**
 * Reads `Cache-Control`. It never throws: what cannot be read restricts rather than permits, and so does a field longer than {@link longestListField}.
 *
 * A directive that comes twice counts with its more careful value: the smaller number, the wider scope (RFC 9111 section 4.2.1 leaves a choice).
 *
 * @param value of one field, or of several
 */
export function parseCacheControl (value: string | readonly string[] | number | undefined): CacheControl {
  if (value === undefined || value === '') return none
  const text = typeof value === 'object' ? value.join(',') : String(value)
  if (text.length > longestListField) return strictest
  const directives = split(text)
  const seconds = (name: string) => directives.has(name) ? readSeconds(directives.get(name)) : undefined
  return {
    ...optional('maxAge', seconds('max-age')),
    ...optional('sMaxage', seconds('s-maxage')),
    ...optional('minFresh', seconds('min-fresh')),
    ...optional('maxStale', directives.get('max-stale') === null ? Infinity : seconds('max-stale')),
    ...optional('staleWhileRevalidate', seconds('stale-while-revalidate')),
    ...optional('staleIfError', seconds('stale-if-error')),
    noCache: readScope(directives, 'no-cache'),
    private: readScope(directives, 'private'),
    noStore: directives.has('no-store'),
    noTransform: directives.has('no-transform'),
    onlyIfCached: directives.has('only-if-cached'),
    mustRevalidate: directives.has('must-revalidate'),
    mustUnderstand: directives.has('must-understand'),
    proxyRevalidate: directives.has('proxy-revalidate'),
    public: directives.has('public'),
    immutable: directives.has('immutable')
  }
}

function split (text: string): Directives {
  const directives: Directives = new Map()
  for (const part of membersOf(text)) {
    const [, named, quoted, token] = directive.exec(part) ?? []
    if (named !== undefined) merge(directives, named.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? token ?? null)
    else for (const each of broken(part)) merge(directives, each, null)
  }
  return directives
}

/**
 * The members between commas that no quoted string holds, without spaces around them.
 *
 * A quote that never ends begins no quoted string, and neither does any after it: what escapes them is the same for both. So each character is read
 * at most twice, however many quotes there are.
 */
function membersOf (text: string): string[] {
  const members: string[] = []
  let hasOpenQuote = false
  let start = 0
  for (let at = 0; at <= text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote && !hasOpenQuote) {
      const end = endOfQuoted(text, at)
      if (end === -1) hasOpenQuote = true
      else at = end
    } else if (code === comma || at === text.length) {
      const member = text.slice(start, at).trim()
      if (member !== '') members.push(member)
      start = at + 1
    }
  }
  return members
}

/** Where the quoted string that begins here has its closing quote; -1 where it has none. */
function endOfQuoted (text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) return at
    if (code === backslash) at++
  }
  return -1
}

/** What a member that cannot be read may have meant: its name, whose number then counts as none, and whatever restricts. */
function broken (part: string): string[] {
  return [name.exec(part)?.[0] ?? '', ...part.match(restricting) ?? []].filter((each) => each !== '').map((each) => each.toLowerCase())
}

function merge (directives: Directives, name: string, argument: string | null): void {
  const before = directives.get(name)
  if (before === undefined) directives.set(name, shortened(name, argument))
  else if (name === 'private' || name === 'no-cache') directives.set(name, before && argument ? `${before},${argument}` : null)
  else if (readSeconds(argument) < readSeconds(before)) directives.set(name, shortened(name, argument))
}

/** A long number is read once, and not with each directive of the same name that follows. */
function shortened (name: string, argument: string | null): string | null {
  return argument === null || argument.length <= 16 || name === 'private' || name === 'no-cache' ? argument : String(readSeconds(argument))
}

/** A number that cannot be read counts as none left: the response is stale, RFC 9111 section 4.2.1. */
function readSeconds (argument: string | null | undefined): number {
  return argument != null && /^\d+$/.test(argument) ? Math.min(Number(argument), mostSeconds) : 0
}

function readScope (directives: Directives, name: string): Scope {
  const argument = directives.get(name)
  if (argument === undefined) return false
  const names = (argument ?? '').split(',').map((each) => each.trim().toLowerCase()).filter((each) => each !== '')
  return names.length === 0 || names.some((each) => !/^[!#$%&'*+\-.^_`|~\w]+$/.test(each)) ? true : names
}

function optional<Name extends string> (name: Name, value: number | undefined): { [key in Name]?: number } {
  return value === undefined ? {} : { [name]: value } as { [key in Name]: number }
}
