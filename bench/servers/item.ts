import type { FastifyInstance } from 'fastify'

/** What every server of the bench answers for an item: about 1 kB of JSON, made anew by each run of a handler. */
export function makeItem (id: string) {
  return { id, name: `Item ${id}`, tags: ['bench', 'item', id], about: 'x'.repeat(900) }
}

/** Listens on a port of the system's choice and tells it to the bench. */
export async function tellPort (app: FastifyInstance): Promise<void> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  const [address] = app.addresses() as { port: number }[]
  process.send?.({ port: address?.port })
  process.on('disconnect', () => process.exit())
}
