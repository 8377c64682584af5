import { types } from 'node:util'
import type { CacheReply } from '../http-message.ts'
import type { HandlerRun } from '../request-state.ts'

/** Called once, when the handler fails. `error` is undefined if the handler itself has succeeded, and its payload could not be sent. */
type FailureListener = (error?: { readonly thrown: unknown }) => void

/**
 * Detects that a reply is passed to an error handler: `send` is called with an Error, or a second time because the first payload could not be sent,
 * or the handler throws. Such a response is not stored, whatever its status.
 *
 * @returns observes what the handler returns
 */
export function trackErrorReply (state: HandlerRun, reply: CacheReply, onFailure: FailureListener): (run: () => unknown) => unknown {
  const { send } = reply
  const { restore } = state
  let wasSent = false
  const fail: FailureListener = (error) => {
    if (state.hasFailed === true) return
    state.hasFailed = true
    state.givenWay ??= { reading: state.tracker?.unkeyedInput }
    onFailure(error)
  }
  const thrown = (error: unknown) => { if (!wasSent && state.isSettled !== true) fail({ thrown: error }) }
  const sendWatched = (payload?: unknown) => {
    if (wasSent) fail()
    else if (payload instanceof Error) fail({ thrown: payload })
    wasSent = true
    return send.call(reply, payload)
  }
  const stop = () => {
    // Assign instead of delete: deleting a property puts the object into slow dictionary mode.
    reply.send = send
    restore?.()
  }
  reply.send = sendWatched
  state.restore = stop
  return (run) => observeFailure(run, thrown)
}

/** A value that is thrown need not be an Error. Only a native promise is observed: `then` of another thenable may start its work again. */
function observeFailure (run: () => unknown, onThrown: (error: unknown) => void): unknown {
  try {
    const result = run()
    if (types.isPromise(result)) result.then(undefined, onThrown)
    return result
  } catch (error) {
    onThrown(error)
    throw error
  }
}

/** Records the handler's unkeyed input when it calls `reply.callNotFound()`, because later reads belong to the not-found handler. */
export function watchNotFound (state: HandlerRun, reply: CacheReply): void {
  const { callNotFound } = reply
  const { restore } = state
  const callWatched = () => {
    state.givenWay ??= { reading: state.tracker?.unkeyedInput }
    return callNotFound.call(reply)
  }
  const stop = () => {
    reply.callNotFound = callNotFound
    restore?.()
  }
  reply.callNotFound = callWatched
  state.restore = stop
}
