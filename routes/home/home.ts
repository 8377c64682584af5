import { readFileSync } from 'node:fs'
import accepts from '@fastify/accepts'
import type { FastifyInstance, FastifyReply } from 'fastify'

const methods = ['get', 'put', 'post', 'patch', 'delete'] as const
const read = (name: string) => readFileSync(new URL(`./${name}`, import.meta.url))

const files: Readonly<Record<string, readonly [type: string, body: Buffer]>> = {
  'page.css': ['text/css', read('page.css')],
  'page.js': ['text/javascript', read('page.js')],
  'request.js': ['text/javascript', read('request.js')],
  'budget.js': ['text/javascript', read('budget.js')],
  'element.js': ['text/javascript', read('element.js')],
  'explain.js': ['text/javascript', read('explain.js')],
  'health.js': ['text/javascript', read('health.js')],
  'notes.js': ['text/javascript', read('notes.js')],
  'responses.js': ['text/javascript', read('responses.js')],
  'search.js': ['text/javascript', read('search.js')],
  'reader.js': ['text/javascript', read('reader.js')]
}
const page = read('page.html')

/** The page has no inline script or style. */
const securityFields = {
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cache-control': 'no-cache'
} as const

const list = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    documentation: { type: 'string' },
    routes: { type: 'object', additionalProperties: { type: 'string' } }
  }
} as const

/** The service's name and one line per route; for a browser a page that shows what the stack does. */
export default async function home (app: FastifyInstance): Promise<void> {
  await app.register(accepts)

  app.get('/', {
    config: { cache: false, session: false },
    schema: {
      summary: 'This list, or for a browser a page',
      tags: ['service'],
      response: { 200: { description: 'By Accept', content: { 'application/json': { schema: list }, 'text/html': { schema: { type: 'string' } } } } }
    }
  }, async (request, reply) => {
    reply.header('vary', 'Accept')
    // JSON where the client has no preference, as curl and fetch have none.
    if (request.accepts().type(['json', 'html']) === 'html') return sendFile(reply, 'text/html', page)
    return { name: 'fastify-prism atlas', documentation: '/docs', routes: lines(app) }
  })

  // Not counted, as the files of /ops are not: loading the page costs one unit.
  app.get<{ Params: { file: string } }>('/home/:file', {
    config: { cache: false, session: false, rateLimit: false },
    schema: { hide: true }
  }, async (request, reply) => {
    const [type, body] = (Object.hasOwn(files, request.params.file) ? files[request.params.file] : undefined) ?? []
    return type === undefined ? reply.callNotFound() : sendFile(reply, type, body)
  })

  app.get('/openapi.json', {
    schema: { summary: 'This service as an OpenAPI 3.1 document', tags: ['service'] }
  }, async () => app.swagger())
}

function sendFile (reply: FastifyReply, type: string, body: Buffer | undefined): FastifyReply {
  return reply.headers(securityFields).type(`${type}; charset=utf-8`).send(body)
}

function lines (app: FastifyInstance): Record<string, string> {
  const described = Object.entries(app.swagger().paths ?? {}).flatMap(([path, item]) => methods.flatMap((method) => {
    const summary = item?.[method]?.summary
    return summary === undefined ? [] : [[`${method.toUpperCase()} ${path}`, summary]]
  }))
  return Object.fromEntries(described)
}
