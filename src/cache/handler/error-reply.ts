import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/**
 * Detects that a reply is passed to an error handler: `send` is called with an Error, or a second time because the first payload could not be sent.
 * Such a response is not stored, whatever its status. If the handler throws, Fastify calls `send` with the error.
 */
export function trackErrorReply (state: HandlerRun, reply: CacheReply): void {
  const { send } = reply
  const { restore } = state
  let wasSent = false
  reply.send = (payload?: unknown) => {
    if (wasSent || payload instanceof Error) {
      state.hasFailed = true
      state.givenWay ??= { reading: state.tracker?.unkeyedInput }
    }
    wasSent = true
    return send.call(reply, payload)
  }
  state.restore = () => {
    // Assign instead of delete: deleting a property puts the object into slow dictionary mode.
    reply.send = send
    restore?.()
  }
}

/** Records the handler's unkeyed input when it calls `reply.callNotFound()`, because later reads belong to the not-found handler. */
export function watchNotFound (state: HandlerRun, reply: CacheReply): void {
  const { callNotFound } = reply
  const { restore } = state
  reply.callNotFound = () => {
    state.givenWay ??= { reading: state.tracker?.unkeyedInput }
    return callNotFound.call(reply)
  }
  state.restore = () => {
    reply.callNotFound = callNotFound
    restore?.()
  }
}
