import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'

/** Request options of the conformance suite's client. */
export interface PlainRequest {
  method?: string
  headers?: readonly (readonly [name: string, value: string])[]
  body?: string
}

/** Sends a request over its own connection without additional fields: those of Node's `fetch` would change the response of a cache. Redirects are not followed. */
export async function plainFetch (url: string, { method = 'GET', headers = [], body }: PlainRequest = {}): Promise<Response> {
  const lines = [...headers, ...body === undefined ? [] : [['content-length', String(Buffer.byteLength(body))] as const]]
  const message = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest(url, { method, headers: joined(lines), agent: false }, resolve).on('error', reject).end(body)
  })
  return await responseOf(message)
}

/** Several lines of one field are sent one by one. */
function joined (lines: readonly (readonly [string, string])[]): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = {}
  for (const [name, value] of lines) {
    const key = name.toLowerCase()
    const before = fields[key]
    fields[key] = before === undefined ? value : [before, value].flat()
  }
  return fields
}

async function responseOf (message: IncomingMessage): Promise<Response> {
  const fields = new Headers()
  for (let index = 0; index < message.rawHeaders.length; index += 2) fields.append(message.rawHeaders[index] ?? '', message.rawHeaders[index + 1] ?? '')
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  const status = message.statusCode ?? 0
  return new Response([204, 205, 304].includes(status) ? null : Buffer.concat(chunks), { status, headers: fields })
}
