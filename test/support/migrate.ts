import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { diffModules } from './readme.ts'
import { startRedis } from './redis.ts'
import { reached } from './wait-for-redis.ts'

const root = join(import.meta.dirname, '../..')

/**
 * Runs one side of a diff of docs/migrate.md, on a Redis of its own.
 *
 * @param packages the folder of the packages that it imports
 */
export async function migrated (t: Test, heading: string, side: 'before' | 'after', packages = join(root, 'node_modules')): Promise<FastifyInstance> {
  const folder = mkdtempSync(join(tmpdir(), 'prism-migrate-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  symlinkSync(packages, join(folder, 'node_modules'), 'dir')
  process.env.REDIS_URL = (await startRedis(t)).url
  process.env.SESSION_SECRET = 'a secret of the tests: 32 or more'
  const file = join(folder, `${side}.mjs`)
  writeFileSync(file, diffModules('docs/migrate.md', heading)[side].replaceAll("'fastify-prism'", `'${pathToFileURL(join(root, 'plugins/index.ts')).href}'`))
  const { app }: { app: FastifyInstance } = await import(pathToFileURL(file).href)
  t.after(() => app.close())
  if (side === 'after') await reached(app)
  else await app.ready()
  return app
}
