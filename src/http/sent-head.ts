import type { ServerResponse } from 'node:http'

type WriteHead = ServerResponse['writeHead']

/** What observes the header block of one response. */
interface HeadWatch {
  /** what {@link writeWatched} calls */
  original: WriteHead
  /** `writeWatched` is among the functions that a call of `writeHead` passes */
  isInstalled: boolean
  isWriting: boolean
  listeners: readonly (() => void)[]
}

// Not a WeakMap: one entry for each response would make each garbage collection slower.
const watching = Symbol('prism.head-watch')

type WatchedResponse = ServerResponse & { [watching]?: HeadWatch }

const none: readonly never[] = Object.freeze([])

/** The `writeHead` of all watched responses: a function for each would be a part of the cost of a miss. */
const writeWatched = function writeHead (this: WatchedResponse, ...given: Parameters<WriteHead>) {
  const watch = this[watching]
  // Code may have read this function before it was taken away, and call it from a wrapper of its own that it calls in turn.
  if (watch === undefined || watch.isWriting) return (Object.getPrototypeOf(this) as ServerResponse).writeHead.apply(this, given)
  watch.isWriting = true
  try {
    const written = watch.original.apply(this, given)
    const { listeners } = watch
    watch.listeners = none
    uninstall(this, watch)
    for (const listener of listeners) listener()
    return written
  } finally {
    watch.isWriting = false
  }
} as WriteHead

/**
 * Calls a listener when the header block of a response has been written, by any code. It is not called if that never happens.
 *
 * @returns removes the listener
 */
export function whenHeadWritten (response: WatchedResponse, listener: () => void): () => void {
  const watch = response[watching] ??= { original: response.writeHead, isInstalled: false, isWriting: false, listeners: none }
  if (!watch.isInstalled) {
    watch.original = response.writeHead
    watch.isInstalled = true
    response.writeHead = writeWatched
  }
  watch.listeners = watch.listeners.length === 0 ? [listener] : [...watch.listeners, listener]
  return () => {
    watch.listeners = watch.listeners.filter((each) => each !== listener)
    if (watch.listeners.length === 0) uninstall(response, watch)
  }
}

/** Where other code has wrapped the function, it stays. */
function uninstall (response: WatchedResponse, watch: HeadWatch): void {
  if (response.writeHead !== writeWatched) return
  // Deleting the property would put the response into V8's slow dictionary mode.
  response.writeHead = watch.original
  watch.isInstalled = false
}

/** Whether other code has wrapped `writeHead`, as Express middleware does: it may still change the header block when it is written. */
export function isHeadPatched (response: WatchedResponse): boolean {
  const { writeHead } = Object.getPrototypeOf(response) as ServerResponse
  let write: WriteHead | undefined = response.writeHead
  while (write !== writeHead && write !== undefined) write = write === writeWatched ? response[watching]?.original : isAgentWriteHead(write) ? writeHead : undefined
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
  if (!/^set-cookie:/im.test(block)) return none
  return block.split('\r\n').filter((line) => /^set-cookie:/i.test(line)).map((line) => line.slice('set-cookie:'.length).trim())
}
