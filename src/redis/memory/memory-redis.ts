import { AbstractConnector } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { MemorySocket } from './memory-socket.ts'

/** A Redis in this process, for development and tests: it is loaded with the first connection. */
export interface MemoryRedis {
  /** for ioredis: its connections lead to this Redis */
  readonly Connector: NonNullable<RedisOptions['Connector']>
  /** loads the server and its Lua engine @throws {PeerMissingError} PRISM_ERR_PEER_MISSING */
  load (): Promise<void>
}

/** In-memory servers that have a name, shared by the apps of this process. */
const named = new Map<string, MemoryRedis>()

/** @param name of a server that other apps of this process share; undefined for a server that only this app uses */
export function memoryRedis (name?: string): MemoryRedis {
  if (name === undefined) return createMemoryRedis()
  const redis = named.get(name) ?? createMemoryRedis()
  named.set(name, redis)
  return redis
}

function createMemoryRedis (): MemoryRedis {
  const load = loader()
  return { Connector: connectorTo(load), load: async () => { await load() } }
}

/** Production loads neither the server nor the Lua engine. */
function loader (): () => Promise<() => MemorySocket> {
  let opening: Promise<() => MemorySocket> | undefined
  const open = async () => await (await import('./memory-server.ts')).startMemoryServer()
  return async () => {
    opening ??= open().catch((error: unknown) => {
      opening = undefined
      throw error
    })
    return await opening
  }
}

function connectorTo (load: () => Promise<() => MemorySocket>): MemoryRedis['Connector'] {
  return class MemoryConnector extends AbstractConnector {
    constructor () {
      super(0)
    }

    override async connect (): Promise<never> {
      this.connecting = true
      const open = await load()
      if (!this.connecting) throw new Error('Connection is closed.')
      const stream = open()
      this.stream = stream as never
      return stream as never // ioredis names the type of a socket, and uses what MemorySocket has
    }

    /** Closes at once: there is no peer whose bytes are on their way. */
    override disconnect (): void {
      this.connecting = false
      this.stream?.destroy()
    }
  }
}
