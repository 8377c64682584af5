import { readFileSync } from 'node:fs'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'

const read = (name: string) => readFileSync(new URL(`../api-docs/${name}`, import.meta.url), 'utf8')

/** Swagger UI sets styles from its scripts, which the policy allows; it has no inline script or style. */
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/**
 * `GET /docs`: the OpenAPI document in Swagger UI, whose files are served from here: the page contacts no other host.
 */
export default fp(async (fastify) => {
  await fastify.register(async (scope) => {
    scope.routeDefaults({ session: false, cache: false })
    scope.addHook('onRequest', async (_request, reply) => { reply.headers({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'same-origin' }) })
    await scope.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: policy,
      theme: {
        title: 'API · fastify-prism',
        css: [{ filename: 'theme.css', content: read('theme.css') }],
        js: [{ filename: 'theme.js', content: read('theme.js') }]
      },
      uiConfig: { layout: 'BaseLayout', docExpansion: 'list', defaultModelsExpandDepth: -1, displayRequestDuration: true, tryItOutEnabled: true, deepLinking: true }
    })
  })
}, { name: 'fastify-prism/api-docs', fastify: '5.x', dependencies: ['fastify-prism/openapi', 'fastify-prism/cache', 'fastify-prism/session'] })
