import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import { unlessLate } from './wait-for-redis.ts'
import { until } from './until.ts'

/** A browser: stores its cookies, and sends them to whichever app it uses. */
export class SignedInClient {
  readonly #cookies = new Map<string, string>()
  #app: FastifyInstance

  constructor (app: FastifyInstance) {
    this.#app = app
  }

  /** The same browser at another process of the service. */
  moveTo (app: FastifyInstance): this {
    this.#app = app
    return this
  }

  /** Signs up and in with its own name. */
  async signIn (name: string, password = 'correct horse'): Promise<this> {
    await unlessLate(() => this.send('POST', '/users', { name, password }))
    const { statusCode, body } = await unlessLate(() => this.send('POST', '/session', { name, password }))
    if (statusCode !== 200) throw new Error(`sign-in: ${statusCode} ${body}`)
    return this
  }

  async send (method: 'GET' | 'PUT' | 'POST' | 'DELETE', url: string, payload?: InjectOptions['payload']) {
    const cookies = Object.fromEntries(this.#cookies)
    const response = await this.#app.inject({ method, url, cookies, ...(payload === undefined ? {} : { payload }) })
    for (const { name, value, maxAge } of response.cookies) {
      if (value === '' || maxAge === 0) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return response
  }
}

/** Reads until the response is a hit: a response is stored after it was sent. */
export async function untilHit (read: () => Promise<LightMyRequestResponse>): Promise<LightMyRequestResponse> {
  return await until(async () => {
    const response = await read()
    return /^prism; hit/.test(String(response.headers['cache-status'])) && response
  }, { what: 'a hit' })
}
