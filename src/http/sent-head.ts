import type { ServerResponse } from 'node:http'

type WriteHead = ServerResponse['writeHead']

/** What watches, and what it calls. */
const watched = new WeakMap<WriteHead, WriteHead>()

/**
 * Calls a listener when the header block of a response has been written, by whichever code writes it. Nothing is called where that never happens.
 *
 * @returns stops that
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
  // To delete the property would make the response slow for all that comes after.
  const stop = () => { if (response.writeHead === watching) response.writeHead = write }
  response.writeHead = watching
  return stop
}

/** Whether something else has put itself before `writeHead`, as the middleware of Express does: it may add to the header block in the last moment. */
export function isHeadPatched (response: ServerResponse): boolean {
  const { writeHead } = Object.getPrototypeOf(response) as ServerResponse
  let write: WriteHead | undefined = response.writeHead
  while (write !== writeHead && write !== undefined) write = watched.get(write)
  return write === undefined
}

/**
 * The cookies in the header block that was sent. The block itself is read: what `writeHead` is given, or adds, is in no list of headers.
 *
 * @returns undefined where no block was written, as on a stream of HTTP/2 that was reset before
 */
export function sentCookies (response: ServerResponse): readonly string[] | undefined {
  const { stream } = response as { stream?: { sentHeaders?: Record<string, string | string[]> } }
  if (stream !== undefined) return stream.sentHeaders && [stream.sentHeaders['set-cookie'] ?? []].flat()
  const { _header: block } = response as { _header?: string | null }
  if (typeof block !== 'string') return undefined
  return block.split('\r\n').filter((line) => /^set-cookie:/i.test(line)).map((line) => line.slice('set-cookie:'.length).trim())
}
