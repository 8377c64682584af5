import fp from 'fastify-plugin'
import { openAtlas, type Atlas } from '../atlas/atlas.ts'

export type { Atlas } from '../atlas/atlas.ts'

/** Where the example's data lies. */
export interface AtlasOptions {
  /** the SQLite file, made where it is missing; several processes may share it */
  path: string
  /** an atlas made earlier, that a missing `path` is copied from */
  seed?: string | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The example's data: `cities` and `countries` to read, `users` and `notes` to write. Its methods throw what a client should see. */
    atlas: Atlas
  }
}

/**
 * Opens the example's data, and loads it first where that was not done yet: about 4 s, told to the log.
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
