import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { MetricsRegistry } from './registry.ts'

/** Serves `GET /metrics` without authentication on a separate port, for a private network. Rejects if the port is not available. */
export async function listen (registry: MetricsRegistry, port: number, host = '::'): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') return response.writeHead(404).end()
    registry.text().then((text) => response.writeHead(200, { 'content-type': registry.registry.contentType }).end(text), () => response.writeHead(500).end())
  })
  server.unref()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  return server
}
