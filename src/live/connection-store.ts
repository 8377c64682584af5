import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/batch/script.ts'
import type { LiveConnection } from './connection.ts'

const heartbeat = new Script<undefined>({ url: new URL('./heartbeat.lua', import.meta.url), costMicroseconds: 10, read: () => undefined })

/** The live connections in Redis: one hash each, which expires unless the heartbeat renews it. */
export class ConnectionStore {
  #batch: Batch
  #keys: Keys
  #instance: string
  #lifetimeMs: number

  /** @param heartbeatMs a hash expires after three of the longest heartbeat intervals */
  constructor (batch: Batch, keys: Keys, instance: string, heartbeatMs: number) {
    this.#lifetimeMs = Math.round(3 * heartbeatMs * 1.2)
    this.#batch = batch
    this.#keys = keys
    this.#instance = instance
  }

  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; the next heartbeat writes it again */
  write ({ id, kind, client, topics, openedAt }: LiveConnection): Promise<undefined> {
    const fields = ['kind', kind, 'user', client.userId ?? '', 'topics', JSON.stringify(topics), 'instance', this.#instance, 'since', openedAt]
    return this.#batch.runScript(heartbeat, [this.#keys.websocket(id)], [this.#lifetimeMs, ...fields], 'background')
  }

  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; the hash expires by itself */
  remove (id: string): Promise<unknown> {
    return this.#batch.command('unlink', [this.#keys.websocket(id)], 'background')
  }
}
