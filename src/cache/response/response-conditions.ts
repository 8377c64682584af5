import { applyConditions } from './conditional-response.ts'
import type { PayloadUse } from './conditional-response.ts'
import type { LaterHooks } from './later-hooks.ts'
import { asType } from './send-entry.ts'
import type { Entry } from '../storage/entry-codec.ts'
import type { CacheReply, CacheRequest } from '../http-message.ts'
import type { CacheRequestState, HandlerRun } from '../request-state.ts'

/** A response whose conditions are evaluated. Without a run it is a stored one. */
interface Conditional {
  readonly request: CacheRequest
  readonly reply: CacheReply
  readonly state: CacheRequestState
  readonly run?: HandlerRun
}

/** Evaluates conditional headers and ranges of a route's responses, which the handler does not see: at once, or after the onSend hooks that run after the cache. */
export class ResponseConditions {
  readonly #find: () => LaterHooks
  #found: LaterHooks | undefined

  /** @param findLaterHooks called once, at the first response */
  constructor (findLaterHooks: () => LaterHooks) {
    this.#find = findLaterHooks
  }

  /** Whether onSend hooks run after the cache. */
  get areDeferred (): boolean {
    return this.#laterHooks.areThere
  }

  get #laterHooks (): LaterHooks {
    this.#found ??= this.#find()
    return this.#found
  }

  /** @returns the payload to send; undefined if the handler saw the conditions itself */
  evaluate ({ request, reply, state, run }: Conditional, payload: unknown, hasOwnTag: boolean, use?: PayloadUse): unknown {
    if (run !== undefined && run.hidesConditions !== true) return undefined
    if (!this.areDeferred) return applyConditions(request, reply, payload, use)
    state.deferred = {
      payload,
      ownTag: hasOwnTag ? String(reply.getHeader('etag')) : undefined,
      apply: (sent, mayCut) => applyConditions(request, reply, sent, sent === payload ? { ...use, mayCut } : { mayCut })
    }
    return payload
  }

  /** Hands a stored response to the onSend hooks that run after the cache, as the handler's own. @returns the payload for them */
  handOver (request: CacheRequest, reply: CacheReply, state: CacheRequestState, entry: Entry, payload: unknown): unknown {
    return this.evaluate({ request, reply, state }, asType(payload, entry.payloadType), entry.hasOwnTag || entry.payloadType === 'unknown')
  }

  /** Evaluates the deferred conditions after the hooks. An entity tag of the cache names the stored body: if a hook has changed it, the tag is removed. */
  afterHooks (reply: CacheReply, { deferred, run }: CacheRequestState, payload: unknown): unknown {
    if (deferred === undefined) return payload
    const isSame = payload === deferred.payload && !this.#laterHooks.areUnseen
    if (!isSame && deferred.ownTag !== undefined && reply.getHeader('etag') === deferred.ownTag) reply.removeHeader('etag')
    const sent = deferred.apply(payload, isSame)
    run?.pending?.noteStatus()
    return sent
  }
}
