import { isSent, onClosed } from '../../http/response-lifecycle.ts'
import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/**
 * Calls a listener when nobody is there any more to read the answer of a reply that was hijacked: nobody settles that, and of a connection that broke
 * no answer leaves. Who goes away before ends no run, for its answer may be kept.
 */
export function onHijackedClose (state: HandlerRun, reply: CacheReply, listener: () => void): void {
  const { hijack, raw } = reply
  const { restore } = state
  reply.hijack = () => {
    onClosed(raw.req, raw, () => { if (!isSent(raw)) listener() })
    return hijack.call(reply)
  }
  state.restore = () => {
    // As in `watchFailure`.
    reply.hijack = hijack
    restore?.()
  }
}
