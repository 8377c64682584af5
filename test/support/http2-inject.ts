import { once } from 'node:events'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { Owner } from './cleanup-scope.ts'

/** Header fields of the connection, which HTTP/2 does not have (RFC 9113 section 8.2.2). */
const ofConnection = new Set(['connection', 'host', 'keep-alive', 'transfer-encoding'])

/** Replaces `app.inject` by real requests over one HTTP/2 connection, with the same result. */
export function injectOverHttp2 (owner: Owner, app: FastifyInstance): void {
  let opened: Promise<ReturnType<typeof connect>> | undefined
  const open = async () => {
    await app.listen({ port: 0, host: '127.0.0.1' })
    const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    owner.after(() => client.destroy())
    return client
  }
  app.inject = (async (given: InjectOptions | string) => {
    const options = typeof given === 'string' ? { url: given } : given
    const client = await (opened ??= open())
    return await send(client, options)
  }) as typeof app.inject
}

async function send (client: ReturnType<typeof connect>, { method = 'GET', url, path = url, headers = {}, payload }: InjectOptions): Promise<LightMyRequestResponse> {
  const fields = Object.fromEntries(Object.entries(headers).filter(([name, value]) => value !== undefined && !ofConnection.has(name.toLowerCase())).map(([name, value]) => [name.toLowerCase(), typeof value === 'number' ? String(value) : value]))
  // light-my-request's defaults
  const target = { ':method': method, ':path': String(path), ':authority': String(headers.host ?? 'localhost:80') }
  const body = payload === undefined ? undefined : typeof payload === 'string' ? payload : JSON.stringify(payload)
  const type = body !== undefined && typeof payload === 'object' && fields['content-type'] === undefined ? { 'content-type': 'application/json' } : {}
  const stream = client.request({ ...target, 'user-agent': 'lightMyRequest', ...fields, ...type } as Record<string, string | string[]>, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  const [[received], raw] = await Promise.all([once(stream, 'response') as Promise<[Record<string, string | number | string[]>]>, buffer(stream)])
  const { ':status': status, ...rest } = received
  const text = raw.toString()
  return { statusCode: Number(status), headers: rest, body: text, payload: text, rawPayload: raw, json: () => JSON.parse(text) as unknown } as unknown as LightMyRequestResponse
}
