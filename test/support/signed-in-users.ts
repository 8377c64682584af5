import type { FastifyInstance } from 'fastify'
import { cachingApp } from './caching.ts'
import { unlessLate } from './wait-for-redis.ts'

declare module 'fastify' {
  interface SessionData {
    /** session data of the test users */
    colour: string
  }
}

/** Signs a user in. @returns the Cookie field */
export async function signIn (app: FastifyInstance, user: string): Promise<string> {
  const { headers } = await unlessLate(() => app.inject({ method: 'POST', url: `/sign-in/${encodeURIComponent(user)}` }))
  return String(headers['set-cookie']).split(';')[0] ?? ''
}

/** A caching app with sessions, in which users can sign in and out. */
export async function withUsers (t: Parameters<typeof cachingApp>[0], url?: string): Promise<FastifyInstance> {
  const app = await cachingApp(t, { hasSessions: true, debug: true, ...url === undefined ? {} : { url } })
  app.post('/sign-in/:user', async (request) => {
    await request.session.signIn((request.params as { user: string }).user)
    request.session.set('colour', 'blue')
    return 'in'
  })
  app.post('/sign-out', (request) => request.session.signOut().then(() => 'out'))
  return app
}
