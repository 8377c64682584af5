import { longestListField } from './field-limit.ts'

/** Scope of `private` or `no-cache`: the whole response (true), the named headers, or nothing (false). */
type Scope = true | readonly string[] | false

/** The directives of one or more `Cache-Control` headers, RFC 9111 section 5.2. Durations in seconds; undefined if absent. */
export interface CacheControl {
  readonly maxAge?: number
  readonly sMaxage?: number
  readonly minFresh?: number
  /** Infinity without an argument */
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

/** The directives of a message without `Cache-Control`. */
export const noDirectives: CacheControl = Object.freeze({
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

/** For a header that cannot be parsed: the response is not stored, and no stored response is used. */
const strictest: CacheControl = Object.freeze({ ...noDirectives, noCache: true, private: true, noStore: true })

/** RFC 9111 section 1.2.2: larger values are reduced to this. */
const maxSeconds = 2 ** 31

// token [ "=" ( token / quoted-string ) ], RFC 9110 section 5.6, without the spaces around it. A run of spaces can be matched by one `\s*` only.
const directive = /^([!#$%&'*+\-.^_`|~\w]+)(?:\s*=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s"]*)))?$/
const name = /^[!#$%&'*+\-.^_`|~\w]+/
const [quote, comma, backslash] = [0x22, 0x2c, 0x5c]
const restricting = /\b(?:no-store|private|no-cache)\b/gi

/**
 * Parses `Cache-Control`. Never throws: an invalid directive, and a header longer than {@link longestListField}, restrict rather than permit.
 *
 * Of a repeated directive the more restrictive value is used: the smaller number, the wider scope (RFC 9111 section 4.2.1 leaves the choice).
 *
 * @param value value of one header line, or of several
 */
export function parseCacheControl (value: string | readonly string[] | number | undefined): CacheControl {
  if (value === undefined) return noDirectives
  const text = typeof value === 'object' ? value.join(',') : String(value)
  if (text === '') return noDirectives
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
    else for (const each of directivesOfInvalid(part)) merge(directives, each, null)
  }
  return directives
}

/**
 * The members between the commas outside quoted strings, trimmed.
 *
 * An unterminated quote does not begin a quoted string, and no later quote can: so each character is read at most twice, however many quotes
 * there are.
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

/** Index of the closing quote of the quoted string that begins at `start`; -1 if there is none. */
function endOfQuoted (text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) return at
    if (code === backslash) at++
  }
  return -1
}

/** Directives to apply for an invalid member: its name without an argument, and each restricting directive named in it. */
function directivesOfInvalid (part: string): string[] {
  return [name.exec(part)?.[0] ?? '', ...part.match(restricting) ?? []].filter((each) => each !== '').map((each) => each.toLowerCase())
}

function merge (directives: Directives, name: string, argument: string | null): void {
  const before = directives.get(name)
  if (before === undefined) directives.set(name, shortened(name, argument))
  else if (name === 'private' || name === 'no-cache') directives.set(name, before && argument ? `${before},${argument}` : null)
  else if (readSeconds(argument) < readSeconds(before)) directives.set(name, shortened(name, argument))
}

/** Parses a long number once, instead of again for each repeated directive. */
function shortened (name: string, argument: string | null): string | null {
  return argument === null || argument.length <= 16 || name === 'private' || name === 'no-cache' ? argument : String(readSeconds(argument))
}

/** An invalid number is 0: the response is stale, RFC 9111 section 4.2.1. */
function readSeconds (argument: string | null | undefined): number {
  return argument != null && /^\d+$/.test(argument) ? Math.min(Number(argument), maxSeconds) : 0
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
