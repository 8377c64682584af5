import { isSent, onClosed } from '../../http/response-lifecycle.ts'
import { whenHeadWritten } from '../../http/sent-head.ts'
import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/** What happens to a reply that the handler takes out of Fastify's hands. */
interface HijackListener {
  /** `hijack` was called, or the handler has written to `reply.raw`: the response never reaches onSend as a whole */
  onHijacked (): void
  /** the connection of a hijacked reply has closed without a complete response */
  onClosed (): void
}

/**
 * Detects that the handler sends the response itself.
 * A client that disconnects before `hijack` does not end the run, because the result may still be stored.
 */
export function trackHijack (state: HandlerRun, reply: CacheReply, listener: HijackListener): void {
  const { hijack, raw } = reply
  const { restore } = state
  const stopWatching = whenRespondStarted(raw, () => { if (state.isSettled !== true) listener.onHijacked() })
  const hijackWatched = () => {
    listener.onHijacked()
    onClosed(raw.req, raw, () => { if (!isSent(raw)) listener.onClosed() })
    return hijack.call(reply)
  }
  const stop = () => {
    stopWatching()
    // Assign instead of delete, as in `trackErrorReply`.
    reply.hijack = hijack
    restore?.()
  }
  reply.hijack = hijackWatched
  state.restore = stop
}

interface RespondingStream { respond: (...given: unknown[]) => unknown }

/**
 * Calls a listener when any code starts to send the response. Over HTTP/1.1 each way to do so calls `writeHead`; over HTTP/2 each calls `respond` of the stream.
 *
 * @returns removes the listener
 */
function whenRespondStarted (raw: CacheReply['raw'], listener: () => void): () => void {
  const { stream } = raw as { stream?: RespondingStream }
  if (stream === undefined) return whenHeadWritten(raw, listener)
  const { respond } = stream
  const stop = () => { stream.respond = respond }
  const respondWatched: typeof respond = (...given) => {
    stop()
    listener()
    return respond.apply(stream, given)
  }
  stream.respond = respondWatched
  return stop
}
