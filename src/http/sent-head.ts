import type { ServerResponse } from 'node:http'

// Not a WeakMap: one entry for each response would make each garbage collection slower.
const wrapping = Symbol('prism.write-head')

type WriteHead = ServerResponse['writeHead'] & { [wrapping]?: Wrapping }

/** What a `writeHead` installed here wraps. Wrappers of other code may copy the property, so it names its own function. */
interface Wrapping { readonly by: WriteHead, readonly original: WriteHead }

const none: readonly string[] = Object.freeze([])

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
  watching[wrapping] = { by: watching, original: write }
  // Deleting the property would put the response into V8's slow dictionary mode.
  const stop = () => { if (response.writeHead === watching) response.writeHead = write }
  response.writeHead = watching
  return stop
}

/** Whether other code has wrapped `writeHead`, as Express middleware does: it may still change the header block when it is written. */
export function isHeadPatched (response: ServerResponse): boolean {
  const { writeHead } = Object.getPrototypeOf(response) as ServerResponse
  let write: WriteHead | undefined = response.writeHead
  while (write !== writeHead && write !== undefined) write = originalOf(write) ?? (isAgentWriteHead(write) ? writeHead : undefined)
  return write === undefined
}

function originalOf (write: WriteHead): WriteHead | undefined {
  const own = write[wrapping]
  return own?.by === write ? own.original : undefined
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
  if (!/^set-cookie:/im.test(block)) return none
  return block.split('\r\n').filter((line) => /^set-cookie:/i.test(line)).map((line) => line.slice('set-cookie:'.length).trim())
}
