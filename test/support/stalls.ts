import type { FastifyInstance } from 'fastify'

const everyMs = 50
/** A fill lock that is not renewed expires after 1 s. */
const mostMs = 500
const attempts = 10

/**
 * Runs a scenario, and again if this process or its Redis stalled so long that a fill lock may have expired: another process takes over then, and a handler runs twice.
 *
 * @param scenario with its own apps; `watch` is called with one of them
 */
export async function withoutStall<Result> (scenario: (watch: (app: FastifyInstance) => void) => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    let longestMs = 0
    let timer: NodeJS.Timeout | undefined
    const watch = ({ redisPool }: FastifyInstance) => {
      const note = (sinceMs: number) => { longestMs = Math.max(longestMs, performance.now() - sinceMs) }
      let seenAt = performance.now()
      timer = setInterval(() => {
        note(seenAt)
        const sentAt = seenAt = performance.now()
        redisPool.batch.command('PING', []).then(() => note(sentAt), () => note(-Infinity))
      }, everyMs)
    }
    const result = await scenario(watch).finally(() => clearInterval(timer))
    if (longestMs < mostMs || attempt === attempts) return result
  }
}
