import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/batch/script.ts'
import type { LiveConnection } from './connection.ts'

const beat = new Script<undefined>({ url: new URL('./heartbeat.lua', import.meta.url), costMicroseconds: 10, read: () => undefined })

/** How Redis knows of live connections: a hash each, which ends by itself when nobody renews it. */
export class ConnectionStore {
  #batch: Batch
  #keys: Keys
  #instance: string
  #lifetimeMs: number

  /** @param heartbeatMs a state lives for three of them, at their longest */
  constructor (batch: Batch, keys: Keys, instance: string, heartbeatMs: number) {
    this.#lifetimeMs = Math.round(3 * heartbeatMs * 1.2)
    this.#batch = batch
    this.#keys = keys
    this.#instance = instance
  }

  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; the next heartbeat writes it again */
  write ({ id, kind, client, topics, openedAt }: LiveConnection): Promise<undefined> {
    const fields = ['kind', kind, 'user', client.userId ?? '', 'topics', JSON.stringify(topics), 'instance', this.#instance, 'since', openedAt]
    return this.#batch.runScript(beat, [this.#keys.websocket(id)], [this.#lifetimeMs, ...fields], 'background')
  }

  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; it ends by itself */
  remove (id: string): Promise<unknown> {
    return this.#batch.command('unlink', [this.#keys.websocket(id)], 'background')
  }
}
