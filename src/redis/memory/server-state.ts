import { createHash, randomBytes } from 'node:crypto'
import { wallMs } from '../../shared/clock.ts'
import { Keyspace } from './keyspace.ts'
import { PubSub } from './pubsub.ts'
import { ErrorReply } from './reply.ts'

const databases = 16

/** What all clients of one in-memory server share. */
export class ServerState {
  readonly runId = randomBytes(20).toString('hex')
  readonly pubsub = new PubSub()
  readonly counts = { connections: 0, commands: 0, hits: 0, misses: 0 }
  /** connected clients, by ID */
  readonly clients = new Map<number, { readonly name: string, readonly database: number }>()
  readonly startedAt = wallMs()
  readonly #scripts = new Map<string, Buffer>()
  readonly #keyspaces = Array.from({ length: databases }, () => new Keyspace(() => this.nowMs))
  /** the time of the current command, milliseconds since 1970 */
  nowMs = this.startedAt

  keyspace (database: number): Keyspace {
    const keyspace = this.#keyspaces[database]
    if (keyspace === undefined) throw new ErrorReply('ERR DB index is out of range')
    return keyspace
  }

  get keyspaces (): readonly Keyspace[] {
    return this.#keyspaces
  }

  /** Reads the clock. Within one command, a script included, time does not pass. */
  tick (): void {
    this.nowMs = wallMs()
  }

  /** @returns its SHA-1 */
  addScript (text: Buffer): string {
    const sha1 = createHash('sha1').update(text).digest('hex')
    if (!this.#scripts.has(sha1)) this.#scripts.set(sha1, Buffer.from(text))
    return sha1
  }

  script (sha1: string): Buffer | undefined {
    return this.#scripts.get(sha1.toLowerCase())
  }

  clearScripts (): void {
    this.#scripts.clear()
  }
}
