import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { AdminAuthError, AdminDisabledError } from '../shared/errors.ts'

const ticketMs = 30 * 60_000
/** One of ours has 70 characters. */
const longestTicket = 128

/** Lets operators in: by bearer token, or for half an hour by a ticket that the token bought. */
export class AdminAuth {
  readonly #token: string | undefined
  readonly #isProduction: boolean

  /** @param token undefined: everybody may enter, in production nobody */
  constructor (token: string | undefined, isProduction: boolean) {
    this.#token = token
    this.#isProduction = isProduction
  }

  /** Whether anybody may enter without a word. */
  get isUnprotected (): boolean {
    return this.#token === undefined && !this.#isProduction
  }

  /** Whether there is a door at all. */
  get isEnabled (): boolean {
    return this.#token !== undefined || !this.#isProduction
  }

  /** @throws {OperatorOffError} PRISM_ERR_ADMIN_DISABLED where there is no door; {OperatorError} PRISM_ERR_ADMIN_AUTH for a wrong token */
  check (authorization: string | undefined, ticket?: string): void {
    if (!this.isEnabled) throw new AdminDisabledError()
    if (this.isUnprotected || this.isToken(/^Bearer (\S+)$/i.exec(authorization ?? '')?.[1]) || this.#isTicket(ticket)) return
    throw Object.assign(new AdminAuthError(), { headers: { 'www-authenticate': 'Bearer' } })
  }

  isToken (token: string | undefined): boolean {
    return this.#token !== undefined && token !== undefined && isSame(mac(this.#token, token), mac(this.#token, this.#token))
  }

  /** A ticket: until when, a random part, and a signature that only this token's holder can make. */
  issueToken (now = Date.now()): { ticket: string, maxAgeSeconds: number } {
    const claim = `${now + ticketMs}.${randomBytes(9).toString('base64url')}`
    return { ticket: `${claim}.${mac(this.#token ?? '', claim)}`, maxAgeSeconds: ticketMs / 1000 }
  }

  #isTicket (ticket = '', now = Date.now()): boolean {
    if (ticket.length > longestTicket) return false
    const [until = '', random = '', signature = ''] = ticket.split('.')
    return this.#token !== undefined && Number(until) > now && isSame(signature, mac(this.#token, `${until}.${random}`))
  }
}

function mac (token: string, text: string): string {
  return createHmac('sha256', `fastify-prism operator ${token}`).update(text).digest('base64url')
}

/** Compared by bytes: texts of equal length may differ in theirs, and timingSafeEqual throws for that. */
function isSame (one: string, other: string): boolean {
  const [bytes, others] = [Buffer.from(one), Buffer.from(other)]
  return bytes.length === others.length && timingSafeEqual(bytes, others)
}
