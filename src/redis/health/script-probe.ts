import type { Redis, Cluster } from 'ioredis'
import { aclDenial } from './error-class.ts'

/**
 * Whether a server runs scripts: most of what a request needs is one. A server that replies only to PING and reads, as after `CLIENT PAUSE … WRITE`, does not.
 *
 * @throws {Error} ioredis's, if the server replies that it cannot run any now, or the connection ends. Pending for as long as the server does not reply
 */
export async function probeScripts (client: Redis | Cluster): Promise<void> {
  try {
    await client.eval('return 1', 0)
  } catch (error) {
    // The server works, and each script reports for itself that it is denied or unknown.
    if (aclDenial(error as Error) === undefined && !/^ERR unknown command\b/.test((error as Error).message)) throw error
  }
}
