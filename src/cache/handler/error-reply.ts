import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/**
 * Notes when a reply becomes an error handler's, whose answer is not kept, whatever its status: it is given an error to send, or something else after
 * it was given what could not be sent. A handler that throws has its error sent by Fastify.
 */
export function trackErrorReply (state: HandlerRun, reply: CacheReply): void {
  const { send } = reply
  const { restore } = state
  let isGiven = false
  reply.send = (payload?: unknown) => {
    if (isGiven || payload instanceof Error) {
      state.hasFailed = true
      state.givenWay ??= { reading: state.tracker?.unkeyedInput }
    }
    isGiven = true
    return send.call(reply, payload)
  }
  state.restore = () => {
    // To delete it would make the reply slow for all that comes after.
    reply.send = send
    restore?.()
  }
}

/** Notes what a handler had read when it left the answer to the handler of unknown paths. */
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
