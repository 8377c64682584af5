import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { AdminAuthError, AdminDisabledError } from '../shared/errors.ts'

const tokenLifetimeMs = 30 * 60_000
/** Characters; an issued token has 70. */
const maxTokenLength = 128

/** Authenticates administrators: by the configured bearer token, or by a token that was issued for it and is valid for 30 minutes. */
export class AdminAuth {
  readonly #token: string | undefined
  readonly #isProduction: boolean

  /** @param token undefined: no authentication is required; in production, access is disabled */
  constructor (token: string | undefined, isProduction: boolean) {
    this.#token = token
    this.#isProduction = isProduction
  }

  /** Whether access needs no authentication. */
  get isUnprotected (): boolean {
    return this.#token === undefined && !this.#isProduction
  }

  /** Whether access is possible at all. */
  get isEnabled (): boolean {
    return this.#token !== undefined || !this.#isProduction
  }

  /** @throws {AdminDisabledError} if access is disabled; {AdminAuthError} for a wrong token */
  check (authorization: string | undefined, ticket?: string): void {
    if (!this.isEnabled) throw new AdminDisabledError()
    if (this.isUnprotected || this.isToken(/^Bearer (\S+)$/i.exec(authorization ?? '')?.[1]) || this.#isIssuedToken(ticket)) return
    throw Object.assign(new AdminAuthError(), { headers: { 'www-authenticate': 'Bearer' } })
  }

  isToken (token: string | undefined): boolean {
    return this.#token !== undefined && token !== undefined && isSame(mac(this.#token, token), mac(this.#token, this.#token))
  }

  /** Issues a token: expiry in ms, a random part, and an HMAC keyed with the configured token. */
  issueToken (now = Date.now()): { ticket: string, maxAgeSeconds: number } {
    const payload = `${now + tokenLifetimeMs}.${randomBytes(9).toString('base64url')}`
    return { ticket: `${payload}.${mac(this.#token ?? '', payload)}`, maxAgeSeconds: tokenLifetimeMs / 1000 }
  }

  #isIssuedToken (ticket = '', now = Date.now()): boolean {
    if (ticket.length > maxTokenLength) return false
    const [until = '', random = '', signature = ''] = ticket.split('.')
    return this.#token !== undefined && Number(until) > now && isSame(signature, mac(this.#token, `${until}.${random}`))
  }
}

function mac (token: string, text: string): string {
  return createHmac('sha256', `fastify-prism operator ${token}`).update(text).digest('base64url')
}

/** Compares bytes: strings of equal length may differ in byte length, and timingSafeEqual throws for that. */
function isSame (one: string, other: string): boolean {
  const [bytes, others] = [Buffer.from(one), Buffer.from(other)]
  return bytes.length === others.length && timingSafeEqual(bytes, others)
}
