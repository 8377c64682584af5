/** Whether a payload is a Node stream. */
export function isStream (payload: unknown): payload is NodeJS.ReadableStream {
  return typeof payload === 'object' && payload !== null && 'pipe' in payload && typeof payload.pipe === 'function'
}

/** Whether a payload holds a resource until it is read to its end: a Node stream, a web stream, or a `Response` of the Fetch API. */
export function isStreaming (payload: unknown): payload is object {
  return isStream(payload) || isWebStream(payload) || isResponse(payload)
}

/**
 * Releases the resources of a payload that is not sent completely: an upstream connection, an open file. Never throws, and does nothing to an ended
 * stream. A later error of the stream is ignored: undici reports the abort of a body as an error.
 */
export function discardPayload (payload: unknown): void {
  if (isResponse(payload)) discardPayload(payload.body)
  else if (isWebStream(payload)) cancel(payload)
  else if (isStream(payload)) destroy(payload)
}

/**
 * Copies status and headers of a Fetch API `Response` to the reply. Fastify does the same when it sends one, but only after the hooks: they would not
 * see the status and headers, and their own headers would be overwritten.
 *
 * @returns its body; any other payload, and a `Response` that cannot be sent, unchanged
 */
export function unwrapResponse (payload: unknown, reply: { code (status: number): unknown, header (name: string, value: string): unknown }): unknown {
  if (typeof payload !== 'object' || !isResponse(payload) || payload.bodyUsed || payload.status < 200) return payload
  reply.code(payload.status)
  for (const [name, value] of payload.headers) reply.header(name, value)
  return payload.body
}

interface Releasable extends NodeJS.ReadableStream { destroy?: () => unknown, close?: (done: () => void) => unknown, abort?: () => unknown }

function destroy (stream: Releasable): void {
  try {
    stream.on('error', ignore)
    if (typeof stream.destroy === 'function') stream.destroy()
    else if (typeof stream.close === 'function') stream.close(ignore)
    else if (typeof stream.abort === 'function') stream.abort()
    else stream.resume()
  } catch {} // a stream of the app that throws: nothing more can be done
}

/** `cancel` rejects for a locked stream: its reader ends it. */
function cancel (stream: ReadableStream): void {
  try {
    stream.cancel().catch(ignore)
  } catch {} // as above
}

function isWebStream (payload: unknown): payload is ReadableStream {
  return typeof payload === 'object' && payload !== null && 'getReader' in payload && typeof payload.getReader === 'function' && 'cancel' in payload
}

function isResponse (payload: unknown): payload is Response {
  return typeof payload === 'object' && Object.prototype.toString.call(payload) === '[object Response]'
}

function ignore (): void {}
