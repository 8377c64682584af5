import { constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { buildApp, type AppDependencies, type LogStream } from '../../service/app.ts'
import { readConfig, type Config } from '../../service/config.ts'
import { seedAtlas } from './atlas.ts'
import type { Owner } from './cleanup-scope.ts'
import { commandTimeout } from './deadline.ts'
import { reached } from './wait-for-redis.ts'
import { startRedis } from './redis.ts'

/** Deviations from the defaults: any part of the config, and the log's destination. */
export type TestAppOptions = Partial<Config> & { log?: LogStream } & Pick<AppDependencies, 'metricsEvery' | 'alerting'>

/** An app and its config. */
export type TestApp = FastifyInstance & { testConfig: Config & { redisUrl: string } }

/** The secret that test apps share, so that two of them on one Redis are one service. */
export const testSecret = 'a secret of the tests: 32 or more'

/**
 * The whole service, ready and not listening, on a Redis and a database of the test's own; closed with the test.
 *
 * Two apps on one Redis: give both the same `redisUrl`, and the same `databasePath` where they should see each other's writes.
 */
export async function buildTestApp (t: Test, { log = { write () {} }, metricsEvery, alerting, ...overrides }: TestAppOptions = {}): Promise<TestApp> {
  const redisUrl = overrides.redisUrl ?? (await startRedis(t)).url
  const databasePath = overrides.databasePath ?? testDatabase(t)
  const config = { ...readConfig({ SESSION_SECRET: testSecret }), redisCommandTimeoutMs: commandTimeout, ...overrides, redisUrl, databasePath }
  const app = await buildApp(config, { redisUrl, log, metricsEvery, alerting })
  t.after(() => app.close())
  await app.ready()
  await reached(app)
  return Object.assign(app, { testConfig: config })
}

/** The path of a database with all cities that the test may write to; removed with it. */
export function testDatabase (t: Owner): string {
  const folder = mkdtempSync(join(tmpdir(), 'prism-atlas-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'atlas.db')
  copyFileSync(seedAtlas(), path, constants.COPYFILE_FICLONE)
  return path
}
