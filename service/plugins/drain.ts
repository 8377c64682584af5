import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Starts draining: readiness responds 503, and every response closes its connection. */
    drain (): void
    readonly isDraining: boolean
  }
}

/** Closes connections while the process drains. Registered before the stack: an onSend hook after it would keep cached responses from being stored compressed. */
export default fp(async (fastify) => {
  let isDraining = false

  fastify.decorate('drain', () => { isDraining = true })
  fastify.decorate('isDraining', { getter: () => isDraining })
  fastify.addHook('preClose', async () => { isDraining = true })
  fastify.addHook('onSend', function closeWhileDraining (_request, reply, _payload, done) {
    if (isDraining) reply.header('connection', 'close')
    done()
  })
}, { name: 'fastify-prism/drain', fastify: '5.x' })
