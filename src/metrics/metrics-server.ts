import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { MetricsRegistry } from './registry.ts'

/** Serves the metrics at `path` without authentication on a separate port, for a private network. Rejects if the port is not available. */
export async function listen (registry: MetricsRegistry, path: string, port: number, host = '::'): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== path) return response.writeHead(404).end()
    registry.text().then((text) => response.writeHead(200, { 'content-type': registry.registry.contentType }).end(text), () => response.writeHead(500).end())
  })
  server.unref()
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => { reject(error.code === 'EADDRINUSE' || error.code === 'EACCES' ? portError(error, port) : error) })
    server.listen(port, host, resolve)
  })
  return server
}

/** Has no `code`: a caller that listens itself would take the failure for that of its own port. */
function portError (error: NodeJS.ErrnoException, port: number): Error {
  return new Error(`The metrics port ${port} ${error.code === 'EADDRINUSE' ? 'is in use' : 'may not be used by this user'}: set METRICS_PORT (the option \`port\` of the metrics plugin) to another port`, { cause: error })
}
