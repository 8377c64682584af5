import type { Keys } from '../redis/keys.ts'
import { readCookie } from './cookie-field.ts'
import type { SessionPolicy } from './policy.ts'
import { Seal } from './seal.ts'
import type { Arrival, CookieChange } from './visit.ts'

/** What of a request tells which cookie it has. */
export interface Carrier {
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

interface Jar { readonly name: string, readonly seal: Seal }

/** The session's cookie: `__Host-` and `Secure` over TLS, plain over http; each with seals of its own. */
export class SessionCookies {
  readonly #policy: SessionPolicy['cookie']
  readonly #secured: Jar
  readonly #plain: Jar
  readonly #write: (name: string, value: string, attributes: CookieAttributes) => string

  /** @param write makes the field `Set-Cookie` */
  constructor ({ cookie, secrets }: SessionPolicy, keys: Keys, write: (name: string, value: string, attributes: CookieAttributes) => string) {
    const jarOf = (name: string) => ({ name, seal: new Seal(name, secrets, keys) })
    this.#policy = cookie
    this.#secured = jarOf(`__Host-${cookie.name}`)
    this.#plain = jarOf(cookie.name)
    this.#write = write
  }

  /** What came with a request that has a field `Cookie`. */
  open (carrier: Carrier): Arrival {
    const { name, seal } = this.#jarOf(carrier)
    const field = String(carrier.headers.cookie)
    const value = readCookie(field, name)
    const opened = value === undefined ? undefined : seal.open(value)
    return { ticket: opened?.ticket, isOld: opened?.isOld === true, hasCookie: field.includes(`${name}=`) }
  }

  /** The field `Set-Cookie` that makes a change; a clearing one repeats every attribute. What came before is forgotten. */
  write (change: CookieChange, carrier: Carrier): string {
    const { name, seal } = this.#jarOf(carrier)
    seal.forget(readCookie(String(carrier.headers.cookie), name) ?? '')
    const attributes = this.#attributesFor(carrier)
    if (change === 'clear') return this.#write(name, '', { ...attributes, maxAge: 0, expires: new Date(0) })
    return this.#write(name, seal.seal(change.ticket), { ...attributes, maxAge: change.maxAgeSeconds })
  }

  #attributesFor (carrier: Carrier): Omit<CookieAttributes, 'maxAge'> {
    const secure = this.#isSecure(carrier)
    const partitioned = secure && this.#policy.partitioned
    // A browser sends no Lax cookie into another site's frame.
    return { path: '/', httpOnly: true, secure, sameSite: partitioned ? 'none' : 'lax', partitioned }
  }

  #jarOf (carrier: Carrier): Jar {
    return this.#isSecure(carrier) ? this.#secured : this.#plain
  }

  /** A proxy's word for TLS counts, trusted or not: who lies about it can only get a stricter cookie. */
  #isSecure ({ protocol, headers }: Carrier): boolean {
    return this.#policy.secure === 'auto' ? protocol === 'https' || /^https\b/.test(String(headers['x-forwarded-proto'])) : this.#policy.secure
  }
}
