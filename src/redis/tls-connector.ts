import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { AbstractConnector } from 'ioredis'
import type { RedisOptions } from 'ioredis'

/** Connects to a Cluster node over TLS as ioredis does, and handles every error of the socket: an unhandled second error would end the process. */
export class TlsConnector extends AbstractConnector {
  readonly #options: RedisOptions

  constructor (options: unknown) {
    const all = options as RedisOptions // as ioredis calls it
    super(all.disconnectTimeout ?? 0)
    this.#options = all
  }

  override async connect (): Promise<TLSSocket> {
    this.connecting = true
    await new Promise(process.nextTick) // the caller may disconnect in the same tick
    if (!this.connecting) throw new Error('Connection is closed.')
    const { host, port, family, tls } = this.#options
    const where = { host, port, family, ...tls }
    const stream = connect(where)
    this.stream = stream
    stream.on('error', (error) => { this.firstError ??= error })
    return stream
  }
}
