import { once } from 'node:events'
import { createServer, Socket, type Server } from 'node:net'
import { Link } from './tcp-link.ts'
import { networkFaults, type NetworkFault, type NetworkFaultName } from './network-faults.ts'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'

/** Target of a proxy. */
export interface ProxyOptions {
  port: number
  /** 127.0.0.1 */
  host?: string
  /** port of the proxy; default: a free port */
  listenPort?: number
}

type FaultArguments<N extends NetworkFaultName> = Parameters<typeof networkFaults[N]>

/**
 * A TCP proxy in front of a Redis server that counts the traffic and can inject every network fault.
 *
 * It ends with its owner.
 */
export async function startProxy (owner: Owner, options: ProxyOptions): Promise<Proxy> {
  const proxy = new Proxy({ host: '127.0.0.1', listenPort: await freePort(), ...options })
  await proxy.listen()
  owner.after(() => proxy.stop())
  return proxy
}

/** A running proxy. */
export class Proxy {
  /** the address for clients, instead of the server's own */
  readonly url: string
  readonly host = '127.0.0.1'
  readonly port: number
  /** Connections that clients opened since the start, or since `clearCounts`. */
  accepted = 0
  /** Chunks that came from clients. Two writes may arrive as one: `countWrites` counts exactly, within one process. */
  writes = 0
  /** Bytes that came from clients. */
  bytes = 0
  /** Bytes that came from the server. */
  replyBytes = 0
  /** Commands that came from clients, by name in capitals. */
  readonly commands = new Map<string, number>()
  readonly #to: Required<ProxyOptions>
  readonly #links = new Set<Link>()
  readonly #server: Server
  #fault: NetworkFault = { does: 'nothing' }

  constructor (to: Required<ProxyOptions>) {
    this.#to = to
    this.port = to.listenPort
    this.url = `redis://${this.host}:${this.port}`
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  }

  /** Connections that are open to clients now. */
  get connections (): number {
    return [...this.#links].filter((link) => !link.client.destroyed).length
  }

  /** All commands that came from clients. */
  get commandCount (): number {
    return [...this.commands.values()].reduce((sum, count) => sum + count, 0)
  }

  /** Injects a fault; an earlier one ends without being healed. */
  async fault<N extends NetworkFaultName> (name: N, ...options: FaultArguments<N>): Promise<void> {
    const make = networkFaults[name] as (...given: FaultArguments<N>) => NetworkFault
    this.#fault = make(...options)
    if (this.#fault.listens === false) await this.#refuse()
    else await this.listen()
    for (const link of this.#links) this.#fault.strike?.(link)
  }

  /** Ends the fault: new connections work, and open ones too unless they lost bytes. */
  async heal (): Promise<void> {
    const { mend } = this.#fault
    this.#fault = { does: 'nothing' }
    if (mend) for (const link of this.#links) mend(link)
    await this.listen()
  }

  /** Starts all counts at 0 again. */
  clearCounts (): void {
    this.accepted = this.writes = this.bytes = this.replyBytes = 0
    this.commands.clear()
  }

  /** Listens, unless it does already. */
  async listen (): Promise<void> {
    if (this.#server.listening) return
    this.#server.listen(this.port, this.host)
    await once(this.#server, 'listening')
  }

  /** Closes everything. */
  async stop (): Promise<void> {
    const closed = this.#refuse()
    for (const link of this.#links) link.close()
    await closed
  }

  async #refuse (): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    for (const link of this.#links) link.close()
    await once(this.#server, 'close')
  }

  #accept (client: Socket): void {
    this.accepted++
    const link = new Link(client, new Socket({ allowHalfOpen: true }), { ...this.#to, commands: this.commands })
    this.#links.add(link)
    this.#carryUp(link)
    this.#carryDown(link)
    if (this.#fault.accept?.(link) ?? true) link.dial()
  }

  #carryUp (link: Link): void {
    link.client.on('data', (chunk: Buffer) => {
      this.writes++
      this.bytes += chunk.length
      link.read(chunk)
      link.up.push(chunk, this.#fault.pace)
    })
    link.client.on('end', () => link.up.push(undefined, this.#fault.pace))
    link.client.on('close', () => {
      link.clientClosed()
      this.#forget(link)
    })
  }

  #carryDown (link: Link): void {
    link.server.on('data', (chunk: Buffer) => {
      this.replyBytes += chunk.length
      if (this.#fault.down) this.#fault.down(link, chunk)
      else link.down.push(chunk, this.#fault.pace)
      link.withoutReply.clear()
    })
    link.server.on('end', () => link.down.push(undefined, this.#fault.pace))
    link.server.on('close', () => {
      link.serverClosed()
      this.#forget(link)
    })
  }

  #forget (link: Link): void {
    if (link.isOver) this.#links.delete(link)
  }
}
