import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { until } from './until.ts'

/** Waits until an app uses its Redis in time: on a busy machine it can start without, and the first reply takes longest. */
export async function reached ({ redisPool }: Pick<FastifyInstance, 'redisPool'>): Promise<void> {
  await until(() => redisPool.state === 'ready', { what: 'the app reaches its Redis' })
  await until(() => redisPool.batch.command('PING', []), { what: 'a reply in time' })
}

/** Repeats a request whose response is 503: on a busy machine Redis can time out. */
export async function unlessLate (send: () => Promise<LightMyRequestResponse>): Promise<LightMyRequestResponse> {
  return await until(async () => {
    const response = await send()
    return response.statusCode !== 503 && response
  }, { what: 'a reply of Redis in time' })
}
