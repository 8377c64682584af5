import { TwoGenerationLru } from '../shared/lru.ts'
import type { Keys } from '../redis/keys.ts'
import type { ParsedCookie, CookieChange } from './parsed-cookie.ts'
import { readCookie, readCookies } from './cookie-header.ts'
import type { SessionPolicy } from './options.ts'
import { CookieCipher } from './cookie-cipher.ts'

/** What of a request tells which cookie it has. */
export interface CookieRequest {
  readonly protocol: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/** How a cookie is written (RFC 6265 section 4.1). */
export interface CookieAttributes {
  path: string
  httpOnly: boolean
  secure: boolean
  sameSite: 'lax' | 'none'
  partitioned: boolean
  maxAge: number
  expires?: Date
}

interface CookieScheme {
  readonly name: string
  readonly cipher: CookieCipher
  /** by the whole field, which most clients send alike each time: what came so before */
  readonly arrivals: TwoGenerationLru<string, ParsedCookie>
}

const arrivalsKept = 10_000
/** Fields are remembered up to this length: floods of long ones shall not fill the memory. */
const longestRemembered = 512

/** The session's cookie: `__Host-` and `Secure` over TLS, plain over http; each with seals of its own. */
export class SessionCookies {
  readonly #policy: SessionPolicy['cookie']
  readonly #secured: CookieScheme
  readonly #plain: CookieScheme
  readonly #write: (name: string, value: string, attributes: CookieAttributes) => string

  /** @param write makes the field `Set-Cookie` */
  constructor ({ cookie, secrets }: SessionPolicy, keys: Keys, write: (name: string, value: string, attributes: CookieAttributes) => string) {
    const jarOf = (name: string): CookieScheme => ({ name, cipher: new CookieCipher(name, secrets, keys), arrivals: new TwoGenerationLru(arrivalsKept) })
    this.#policy = cookie
    this.#secured = jarOf(`__Host-${cookie.name}`)
    this.#plain = jarOf(cookie.name)
    this.#write = write
  }

  /** What came with a request that has a field `Cookie`. */
  open (carrier: CookieRequest): ParsedCookie {
    const scheme = this.#jarOf(carrier)
    const field = String(carrier.headers.cookie)
    return scheme.arrivals.get(field) ?? this.#meet(scheme, field)
  }

  /** Whether a request has a cookie of the session's name, whatever it holds. */
  isIn (carrier: CookieRequest): boolean {
    return carrier.headers.cookie !== undefined && readCookies(String(carrier.headers.cookie), this.#jarOf(carrier).name).length > 0
  }

  #meet ({ name, cipher, arrivals }: CookieScheme, field: string): ParsedCookie {
    const value = readCookie(field, name)
    const hasCookie = field.includes(`${name}=`)
    if (value === undefined) return { hasCookie, conflictingTokens: hasCookie ? readCookies(field, name).flatMap((each) => cipher.decrypt(each)?.token ?? []) : undefined }
    const opened = cipher.decrypt(value)
    const arrival = { ticket: opened?.token, isOld: opened?.isSealedWithOldKey === true, hasCookie }
    if (opened !== undefined && field.length <= longestRemembered) arrivals.set(field, arrival)
    return arrival
  }

  /** The field `Set-Cookie` that makes a change; a clearing one repeats every attribute. What came before is forgotten. */
  write (change: CookieChange, carrier: CookieRequest): string {
    const { name, cipher, arrivals } = this.#jarOf(carrier)
    const field = String(carrier.headers.cookie)
    arrivals.delete(field)
    cipher.forget(readCookie(field, name) ?? '')
    const attributes = this.#attributesFor(carrier)
    if (change === 'clear') return this.#write(name, '', { ...attributes, maxAge: 0, expires: new Date(0) })
    return this.#write(name, cipher.encrypt(change.token), { ...attributes, maxAge: change.maxAgeSeconds })
  }

  #attributesFor (carrier: CookieRequest): Omit<CookieAttributes, 'maxAge'> {
    const secure = this.#isSecure(carrier)
    const partitioned = secure && this.#policy.partitioned
    // A browser sends no Lax cookie into another site's frame.
    return { path: '/', httpOnly: true, secure, sameSite: partitioned ? 'none' : 'lax', partitioned }
  }

  #jarOf (carrier: CookieRequest): CookieScheme {
    return this.#isSecure(carrier) ? this.#secured : this.#plain
  }

  /** A proxy's word for TLS counts, trusted or not: who lies about it can only get a stricter cookie. */
  #isSecure ({ protocol, headers }: CookieRequest): boolean {
    if (this.#policy.secure !== 'auto') return this.#policy.secure
    const forwarded = headers['x-forwarded-proto']
    return protocol === 'https' || (forwarded !== undefined && /^https\b/.test(String(forwarded)))
  }
}
