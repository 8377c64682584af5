import type { ServerResponse } from 'node:http'

/** Field values of a request, names in lower case. */
export type AskedFields = Readonly<Record<string, string | string[] | undefined>>

/** What the cache reads of a request; Fastify's has this form. */
export interface Asking {
  readonly method: string
  readonly url: string
  readonly protocol: string
  readonly host: string
  readonly headers: AskedFields
  readonly raw: { url?: string | undefined, headers: AskedFields }
  query: unknown
  params: unknown
}

/** What the cache does with a reply; Fastify's has this form. */
export interface Replying {
  readonly statusCode: number
  readonly sent: boolean
  readonly raw: ServerResponse
  code (status: number): unknown
  header (name: string, value: string | string[]): unknown
  removeHeader (name: string): unknown
  getHeader (name: string): number | string | string[] | undefined
  getHeaders (): Record<string, number | string | string[] | undefined>
  send (payload?: unknown): unknown
  hijack (): unknown
}
