import { followDate } from '../../shared/clock.ts'
import { loadEngine } from './lua-engine.ts'
import { MemorySocket } from './memory-socket.ts'
import { ServerState } from './server-state.ts'

/**
 * Starts a server without data.
 *
 * @returns a function that opens a connection to it
 * @throws {PeerMissingError} PRISM_ERR_PEER_MISSING if lua-redis-wasm is not installed
 */
export async function startMemoryServer (): Promise<() => MemorySocket> {
  await loadEngine()
  followDate()
  const server = new ServerState()
  return () => new MemorySocket(server)
}
