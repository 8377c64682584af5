import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Owner } from '../cleanup-scope.ts'

/** The content of the cached routes of all apps: a number per name, stored outside of them. */
export interface Source {
  url: string
  readonly values: Map<string, number>
  /** reads per name, which equal its handler runs */
  readonly reads: Map<string, number>
}

/** Starts one on a free port; closed with its owner. */
export async function startSource (owner: Owner): Promise<Source> {
  const values = new Map<string, number>()
  const reads = new Map<string, number>()
  const server = createServer(({ url = '' }, reply) => {
    const name = url.slice(1)
    reads.set(name, (reads.get(name) ?? 0) + 1)
    reply.end(String(values.get(name) ?? 0))
  })
  owner.after(() => {
    server.close()
    server.closeAllConnections()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, values, reads }
}
