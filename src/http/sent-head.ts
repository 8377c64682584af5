import type { ServerResponse } from 'node:http'

type WriteHead = ServerResponse['writeHead']

/** Each `writeHead` installed here, and the function that it wraps. */
const watched = new WeakMap<WriteHead, WriteHead>()

/**
 * Calls a listener when the header block of a response has been written, by any code. It is not called if that never happens.
 *
 * @returns removes the listener
 */
export function whenHeadWritten (response: ServerResponse, listener: () => void): () => void {
  const write = response.writeHead
  const watching = function writeHead (this: ServerResponse, ...given: Parameters<WriteHead>) {
    const written = write.apply(this, given)
    stop()
    listener()
    return written
  } as WriteHead
  watched.set(watching, write)
  // Deleting the property would put the response into V8's slow dictionary mode.
  const stop = () => { if (response.writeHead === watching) response.writeHead = write }
  response.writeHead = watching
  return stop
}

/** Whether other code has wrapped `writeHead`, as Express middleware does: it may still change the header block when it is written. */
export function isHeadPatched (response: ServerResponse): boolean {
  const { writeHead } = Object.getPrototypeOf(response) as ServerResponse
  let write: WriteHead | undefined = response.writeHead
  while (write !== writeHead && write !== undefined) write = watched.get(write) ?? (isAgentWriteHead(write) ? writeHead : undefined)
  return write === undefined
}

/** Whether dd-trace has wrapped `writeHead`: it adds its tracing headers to CORS preflights. The wrapper has no name. It wraps before any hook of the app runs. */
function isAgentWriteHead (write: WriteHead): boolean {
  return write.name === '' && write.length === 3 && /isOriginAllowed\(req, headers\)/.test(Function.prototype.toString.call(write))
}

/**
 * The cookies in the header block that was sent. Reads the block itself, because headers passed to `writeHead` are not in `getHeaders()`.
 *
 * @returns undefined if no block was written, as on a reset HTTP/2 stream
 */
export function sentCookies (response: ServerResponse): readonly string[] | undefined {
  const { stream } = response as { stream?: { sentHeaders?: Record<string, string | string[]> } }
  if (stream !== undefined) return stream.sentHeaders && [stream.sentHeaders['set-cookie'] ?? []].flat()
  const { _header: block } = response as { _header?: string | null }
  if (typeof block !== 'string') return undefined
  return block.split('\r\n').filter((line) => /^set-cookie:/i.test(line)).map((line) => line.slice('set-cookie:'.length).trim())
}
