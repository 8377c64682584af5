import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/batch/script.ts'
import { selectByScript } from '../redis/batch/script-selection.ts'
import type { LiveConnection } from './connection.ts'

const heartbeat = new Script<undefined>({ url: new URL('./heartbeat.lua', import.meta.url), costMicroseconds: 10, read: () => undefined })
const renew = new Script<number[]>({ url: new URL('./renew.lua', import.meta.url), costMicroseconds: 200, read: (reply) => reply as number[] })

const renewalsPerCall = 40

/** The live connections in Redis: one hash each, which expires unless the heartbeat renews it. */
export class ConnectionStore {
  #batch: Batch
  #keys: Keys
  #instance: string
  #lifetimeMs: number
  #isCluster: () => boolean

  /**
   * @param heartbeatMs a hash expires after three of the longest heartbeat intervals
   * @param isCluster whether the keys of one call must share a slot
   */
  constructor (batch: Batch, keys: Keys, instance: string, heartbeatMs: number, isCluster: () => boolean) {
    this.#isCluster = isCluster
    this.#lifetimeMs = Math.round(3 * heartbeatMs * 1.2)
    this.#batch = batch
    this.#keys = keys
    this.#instance = instance
  }

  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE */
  write ({ id, kind, client, topics, openedAt }: LiveConnection): Promise<undefined> {
    const fields = ['kind', kind, 'user', client.userId ?? '', 'topics', JSON.stringify(topics), 'instance', this.#instance, 'since', openedAt]
    return this.#batch.runScript(heartbeat, [this.#keys.websocket(id)], [this.#lifetimeMs, ...fields], 'background')
  }

  /** Renews hashes, many in one call. @returns the connections whose hash does not exist: it was evicted, or never written */
  async renew (connections: readonly LiveConnection[]): Promise<LiveConnection[]> {
    const run = (some: readonly LiveConnection[]) => this.#batch.runScript(renew, some.map(({ id }) => this.#keys.websocket(id)), [this.#lifetimeMs], 'background')
    return await selectByScript(connections, { isCluster: this.#isCluster(), itemsPerCall: renewalsPerCall, run })
  }

  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; the hash expires by itself */
  remove (id: string): Promise<unknown> {
    return this.#batch.command('unlink', [this.#keys.websocket(id)], 'background')
  }
}
