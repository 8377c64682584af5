import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Client } from './client.ts'
import { signedIn } from './neighbour.ts'
import type { Context } from './neighbour.ts'

/** Routes and features with which each agent is tested. */
export function traced (isTraced: () => boolean): { after: (app: FastifyInstance) => void, features: Record<string, (context: Context) => Promise<void>> } {
  return {
    after: (app) => {
      let runs = 0
      const config = { cache: { ttl: '5m' } } as const
      app.get('/traced', async () => ({ isTraced: isTraced() }))
      app.get('/text', { config }, async () => `text ${++runs}`)
      app.get('/sent', { config }, (_request, reply) => { reply.send({ run: ++runs }) })
      app.get('/hooked', { config, onRequest: async () => {}, preHandler: (_request, _reply, done) => { done() }, onSend: async (_request, _reply, payload) => payload }, async () => ({ run: ++runs }))
      app.get('/logged', { config }, async (request: FastifyRequest) => {
        request.log.info('a line')
        return { run: ++runs }
      })
      app.get('/agent-header', { config }, async ({ headers }) => ({ theme: headers['x-theme'] ?? 'light' }))
      app.get('/fails', { config }, async () => { throw Object.assign(new Error('no such page'), { statusCode: 404 }) })
    },
    features: {
      'the agent traces requests, and cached routes of all forms are hits': async ({ t, client }) => {
        t.same((await client.get('/traced')).body, { isTraced: true })
        for (const path of ['/text', '/sent', '/hooked', '/logged']) {
          const { text, headers } = await client.get(path)
          t.equal((await client.hit(path)).text, text, path)
          t.notMatch(headers.get('cache-control'), /private/, path)
        }
        t.equal((await client.get('/fails')).status, 404)
      },
      'what a handler reads of a request still keeps its response from being shared': async ({ t, url }) => {
        for (const theme of ['dark', 'dark', 'sepia']) t.same((await new Client({ url }, { 'x-theme': theme }).get('/agent-header')).body, { theme })
        for (const user of ['ada', 'bob', 'bob']) t.same((await (await signedIn(url, user)).get('/greeting')).body, { user })
      }
    }
  }
}
