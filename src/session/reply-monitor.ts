import type { CookieChange } from './parsed-cookie.ts'

/** What a session must know of the reply that it is saved with. The members are Fastify's. */
export interface MonitoredReply {
  /** taken over by `hijack()`, or ended */
  readonly sent: boolean
  readonly raw: {
    readonly headersSent: boolean
    readonly writableEnded: boolean
    readonly destroyed: boolean
    once (event: 'close', listener: () => void): unknown
  }
  /** `ws`: an upgrade to a WebSocket, whose head is not the reply's */
  readonly request?: object
  hijack (): unknown
}

/** Whether the reply can set no cookie any more. */
export function isHeadSent (reply: MonitoredReply): boolean {
  return reply.raw.headersSent || ((reply.request as { readonly ws?: boolean } | undefined)?.ws === true && reply.sent)
}

/** Whether no save with the reply follows: it has ended, or its connection has, after a handler took it over. */
export function isOver ({ sent, raw }: MonitoredReply): boolean {
  return raw.writableEnded || (sent && raw.destroyed)
}

/** The request's session, as far as its reply is concerned. */
export interface MonitoredSession {
  /** something was changed that no save has begun to save */
  readonly hasUnsaved: boolean
  /** a cookie is to be set without which the visitor loses the session, and no reply was given it */
  readonly hasCookie: boolean
  /** its save with the reply is over */
  readonly isClosed: boolean
  takeCookie (): CookieChange | undefined
  /** Settles when nothing of it is under way; never rejects. */
  idle (): Promise<void>
}

/** What the plugin does for it. */
export interface ReplyMonitorOptions {
  /** sets the cookie on a reply whose head has not left */
  setCookie: (change: CookieChange, reply: MonitoredReply) => void
  warn: (reply: MonitoredReply, text: string) => void
}

const texts = {
  skipped: 'A session change was lost: the reply was sent without Fastify (reply.hijack() or reply.raw), so nothing saved it. Call await request.session.save() before',
  late: 'A session change was lost: it was made after the session had been saved with the reply. Change the session earlier, or call await request.session.save() after the change',
  cookie: 'The session cookie was not sent: the head of the reply had left, or the reply was sent without Fastify. Await signIn(), rotate() or save() before the reply'
} as const

/** Sees to it that a session change is not lost in silence where its reply bypasses the save at onSend. Asked by requests that change a session alone. */
export class ReplyMonitor {
  readonly #options: ReplyMonitorOptions

  constructor (options: ReplyMonitorOptions) {
    this.#options = options
  }

  /** Follows a reply from the first change on. */
  follow (session: MonitoredSession, reply: MonitoredReply): void {
    const { hijack } = reply
    reply.hijack = () => {
      const taken: unknown = hijack.call(reply)
      this.#deliver(session, reply)
      return taken
    }
    // A client that goes away before the reply changes nothing: the handler ends, and the session is saved.
    reply.raw.once('close', () => { if (reply.sent && !session.isClosed) this.#report(session, reply, texts.skipped) })
  }

  /** Hears of a change after the save with the reply, or after its end. */
  changedLate (session: MonitoredSession, reply: MonitoredReply): void {
    setImmediate(() => { this.#report(session, reply, texts.late) })
  }

  /** Hears that there is a new cookie. */
  cookieGiven (session: MonitoredSession, reply: MonitoredReply): void {
    if (reply.sent || session.isClosed) this.#deliver(session, reply)
  }

  #deliver (session: MonitoredSession, reply: MonitoredReply): void {
    const change = isHeadSent(reply) ? undefined : session.takeCookie()
    if (change !== undefined) this.#options.setCookie(change, reply)
    else if (session.hasCookie) this.#options.warn(reply, texts.cookie)
  }

  async #report (session: MonitoredSession, reply: MonitoredReply, text: string): Promise<void> {
    await session.idle()
    if (session.hasUnsaved) this.#options.warn(reply, text)
    if (session.hasCookie) this.#options.warn(reply, texts.cookie)
  }
}
