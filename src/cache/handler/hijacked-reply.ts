import { isSent, onClosed } from '../../http/response-lifecycle.ts'
import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/**
 * A hijacked reply never reaches onSend. Calls `listener` when its connection closes without a complete response.
 * A client that disconnects before `hijack` does not end the run, because the result may still be stored.
 */
export function onHijackedClose (state: HandlerRun, reply: CacheReply, listener: () => void): void {
  const { hijack, raw } = reply
  const { restore } = state
  reply.hijack = () => {
    onClosed(raw.req, raw, () => { if (!isSent(raw)) listener() })
    return hijack.call(reply)
  }
  state.restore = () => {
    // Assign instead of delete, as in `trackErrorReply`.
    reply.hijack = hijack
    restore?.()
  }
}
