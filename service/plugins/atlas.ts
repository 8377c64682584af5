import fp from 'fastify-plugin'
import { openAtlas, type Atlas } from '../atlas/atlas.ts'

export type { Atlas } from '../atlas/atlas.ts'

/** Location of the example's data. */
interface AtlasOptions {
  /** SQLite file, created if missing; several processes may share it */
  path: string
  /** existing database that is copied to `path` if `path` is missing */
  seed?: string | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The example's data: `cities` and `countries` to read, `users` and `notes` to write. Its methods throw errors with a status for the client. */
    atlas: Atlas
  }
}

/**
 * Opens the example's database. The first start loads the data, which takes about 4 s and is logged.
 *
 * @throws {AtlasError} PRISM_ERR_ATLAS, at registration.
 */
export default fp<AtlasOptions>(async (fastify, { path, seed }) => {
  const atlas = openAtlas(path, {
    seed,
    progress: (stored, total) => fastify.log.info({ stored, total }, `atlas: ${stored} of ${total} cities loaded`)
  })

  fastify.decorate('atlas', atlas)
  fastify.addHook('onClose', () => atlas.close())
}, { name: 'fastify-prism/atlas', fastify: '5.x' })
