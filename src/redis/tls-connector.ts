import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { AbstractConnector } from 'ioredis'
import type { RedisOptions } from 'ioredis'

/** Connects to a node of a Cluster by TLS as ioredis does, and hears all failures of the socket, not the first alone. */
export class TlsConnector extends AbstractConnector {
  readonly #options: RedisOptions

  constructor (options: unknown) {
    const all = options as RedisOptions // says ioredis
    super(all.disconnectTimeout ?? 0)
    this.#options = all
  }

  override async connect (): Promise<TLSSocket> {
    this.connecting = true
    await new Promise(process.nextTick) // whoever asked may change his mind
    if (!this.connecting) throw new Error('Connection is closed.')
    const { host, port, family, tls } = this.#options
    const where = { host, port, family, ...tls }
    const stream = connect(where)
    this.stream = stream
    stream.on('error', (error) => { this.firstError ??= error })
    return stream
  }
}
