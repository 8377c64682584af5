/** Whether a payload is a stream of Node's. */
export function isStream (payload: unknown): payload is NodeJS.ReadableStream {
  return typeof payload === 'object' && payload !== null && 'pipe' in payload && typeof payload.pipe === 'function'
}

/** Whether a payload holds something until it is read to its end: a stream of Node's or of the web, or a `Response` of the Fetch API. */
export function isStreaming (payload: unknown): payload is object {
  return isStream(payload) || isWebStream(payload) || isResponse(payload)
}

/**
 * Releases what a payload holds that is not sent, or not to its end: an upstream's connection, an open file. It never throws, and does nothing to a
 * stream that has ended. An error that is reported afterwards is dropped: undici reports an abort of its bodies as one.
 */
export function discardPayload (payload: unknown): void {
  if (isResponse(payload)) discardPayload(payload.body)
  else if (isWebStream(payload)) cancel(payload)
  else if (isStream(payload)) destroy(payload)
}

/**
 * Takes a `Response` of the Fetch API apart, as Fastify does when it sends one: until then no hook sees its status and its fields, which then replace
 * what hooks have written.
 *
 * @returns its body; any other payload, and a `Response` that cannot be sent, as it is
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
  } catch {} // a stream of the app's own: nothing more can be done for it
}

/** One that somebody reads rejects: its reader ends it. */
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
