import type { FastifyInstance } from 'fastify'
import { until } from './until.ts'

/** Waits until an app speaks to its Redis: on a busy machine it may have started without. */
export async function reached ({ redisPool }: Pick<FastifyInstance, 'redisPool'>): Promise<void> {
  await until(() => redisPool.state === 'ready', { what: 'the app reaches its Redis' })
}
