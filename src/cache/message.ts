/** What the cache reads of a request; Fastify's has this form. */
export interface Asking {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly raw: { url?: string | undefined }
}

/** What the cache does with a reply; Fastify's has this form. */
export interface Replying {
  readonly statusCode: number
  readonly sent: boolean
  code (status: number): unknown
  header (name: string, value: string): unknown
  removeHeader (name: string): unknown
  getHeader (name: string): number | string | string[] | undefined
  getHeaders (): Record<string, number | string | string[] | undefined>
  send (payload?: unknown): unknown
}
