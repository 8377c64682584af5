import { TwoGenerationLru } from '../shared/lru.ts'
import type { Keys } from '../redis/keys.ts'
import type { ParsedCookie, CookieChange } from './parsed-cookie.ts'
import { readCookie, readCookies } from './cookie-header.ts'
import type { SessionPolicy } from './options.ts'
import { CookieCipher } from './cookie-cipher.ts'

/** The members of a request that determine its session cookie. */
interface CookieRequest {
  readonly protocol: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/** Attributes of `Set-Cookie` (RFC 6265 section 4.1). */
export interface CookieAttributes {
  path: string
  httpOnly: boolean
  secure: boolean
  sameSite: 'lax' | 'strict' | 'none'
  partitioned: boolean
  domain?: string
  maxAge?: number
  expires?: Date
}

interface CookieScheme {
  readonly name: string
  readonly cipher: CookieCipher
  /** parse results by the whole Cookie header, which most clients send unchanged with each request */
  readonly parsedHeaders: TwoGenerationLru<string, ParsedCookie>
}

const parsedHeadersLimit = 10_000
/** Longer headers are not cached, so that a flood of them cannot fill the memory. */
const maxCachedHeaderLength = 512

/** Reads and writes the session cookie: with `__Host-` (or `__Secure-`, where a domain or a path is set) and `Secure` over TLS, without them over HTTP. Each of the two has its own cipher. */
export class SessionCookies {
  readonly #policy: SessionPolicy['cookie']
  readonly #secured: CookieScheme
  readonly #plain: CookieScheme
  readonly #write: (name: string, value: string, attributes: CookieAttributes) => string

  /** @param write serializes a `Set-Cookie` header */
  constructor ({ cookie, secrets }: SessionPolicy, keys: Keys, write: (name: string, value: string, attributes: CookieAttributes) => string) {
    const schemeOf = (name: string): CookieScheme => ({ name, cipher: new CookieCipher(name, secrets, keys), parsedHeaders: new TwoGenerationLru(parsedHeadersLimit) })
    this.#policy = cookie
    this.#secured = schemeOf(`${cookie.domain === undefined && cookie.path === '/' ? '__Host-' : '__Secure-'}${cookie.name}`)
    this.#plain = schemeOf(cookie.name)
    this.#write = write
  }

  /** Parses the session cookie of a request that has a Cookie header. */
  open (request: CookieRequest): ParsedCookie {
    const scheme = this.#schemeOf(request)
    const header = String(request.headers.cookie)
    return scheme.parsedHeaders.get(header) ?? this.#parse(scheme, header)
  }

  /** Whether a request has a session cookie, valid or not. */
  isIn (request: CookieRequest): boolean {
    return request.headers.cookie !== undefined && readCookies(String(request.headers.cookie), this.#schemeOf(request).name).length > 0
  }

  #parse ({ name, cipher, parsedHeaders }: CookieScheme, header: string): ParsedCookie {
    const value = readCookie(header, name)
    const hasCookie = header.includes(`${name}=`)
    if (value === undefined) return { hasCookie, conflictingTokens: hasCookie ? readCookies(header, name).flatMap((each) => cipher.decrypt(each)?.token ?? []) : undefined }
    const opened = cipher.decrypt(value)
    const parsed: ParsedCookie = { token: opened?.token, isSealedWithOldKey: opened?.isSealedWithOldKey === true, hasCookie }
    if (opened !== undefined && header.length <= maxCachedHeaderLength) parsedHeaders.set(header, parsed)
    return parsed
  }

  /** The `Set-Cookie` header for a change. Clearing repeats every attribute, as browsers require. Removes the request's cookie from the caches. */
  write (change: CookieChange, request: CookieRequest): string {
    const { name, cipher, parsedHeaders } = this.#schemeOf(request)
    const header = String(request.headers.cookie)
    parsedHeaders.delete(header)
    cipher.forget(readCookie(header, name) ?? '')
    const attributes = this.#attributesFor(request)
    if (change === 'clear') return this.#write(name, '', { ...attributes, maxAge: 0, expires: new Date(0) })
    return this.#write(name, cipher.encrypt(change.token), this.#policy.isPersistent ? { ...attributes, maxAge: change.maxAgeSeconds } : attributes)
  }

  #attributesFor (request: CookieRequest): Omit<CookieAttributes, 'maxAge'> {
    const secure = this.#isSecure(request)
    const partitioned = secure && this.#policy.partitioned
    // Browsers do not send a Lax cookie in a frame of another site.
    const { domain, path, sameSite } = this.#policy
    return { path, httpOnly: true, secure, sameSite: partitioned ? 'none' : sameSite, partitioned, ...domain === undefined ? {} : { domain } }
  }

  #schemeOf (request: CookieRequest): CookieScheme {
    return this.#isSecure(request) ? this.#secured : this.#plain
  }

  /** X-Forwarded-Proto counts even from an untrusted proxy: a forged value only makes the cookie stricter. */
  #isSecure ({ protocol, headers }: CookieRequest): boolean {
    if (this.#policy.secure !== 'auto') return this.#policy.secure
    const forwarded = headers['x-forwarded-proto']
    return protocol === 'https' || (forwarded !== undefined && /^https\b/.test(String(forwarded)))
  }
}
