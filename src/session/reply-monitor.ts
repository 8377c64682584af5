import type { CookieChange } from './parsed-cookie.ts'

/** The members of a Fastify reply that the monitor uses. */
export interface MonitoredReply {
  /** the reply was hijacked or sent */
  readonly sent: boolean
  readonly raw: {
    readonly headersSent: boolean
    readonly writableEnded: boolean
    readonly destroyed: boolean
    once (event: 'close', listener: () => void): unknown
  }
  /** `ws` is true for a WebSocket upgrade, whose response headers do not come from the reply */
  readonly request?: { readonly headers?: { readonly 'user-agent'?: string | undefined } | undefined }
  hijack (): unknown
}

/** Whether the response headers have been sent, so that no cookie can be set. */
export function isHeadSent (reply: MonitoredReply): boolean {
  return reply.raw.headersSent || ((reply.request as { readonly ws?: boolean } | undefined)?.ws === true && reply.sent)
}

/** Whether no onSend hook will save the session: the reply has ended, or it was hijacked and its connection is closed. */
export function isOver ({ sent, raw }: MonitoredReply): boolean {
  return raw.writableEnded || (sent && raw.destroyed)
}

/** The members of a request session that the monitor uses. */
export interface MonitoredSession {
  /** there are changes that no save includes */
  readonly hasUnsaved: boolean
  /** a cookie without which the client loses the session has not been set on a reply */
  readonly hasCookie: boolean
  /** the onSend save has finished */
  readonly isClosed: boolean
  takeCookie (): CookieChange | undefined
  /** Resolves when no operation is pending; never rejects. */
  idle (): Promise<void>
}

/** Callbacks of the plugin. */
interface ReplyMonitorOptions {
  /** sets the cookie on a reply whose headers have not been sent */
  setCookie: (change: CookieChange, reply: MonitoredReply) => void
  warn: (reply: MonitoredReply, text: string) => void
}

const texts = {
  skipped: 'Session change lost: the reply was sent without Fastify (reply.hijack() or reply.raw), so the session was not saved. Call await request.session.save() before',
  late: 'Session change lost: it was made after the session was saved with the reply. Change the session earlier, or call await request.session.save() after the change',
  cookie: 'Session cookie not sent: the response headers were already sent, or the reply was sent without Fastify. Await signIn(), rotate() or save() before the reply'
} as const

/** Detects session changes and cookies that are lost because the reply bypasses the onSend hook, and logs a warning. Used only by requests that change a session. */
export class ReplyMonitor {
  readonly #options: ReplyMonitorOptions

  constructor (options: ReplyMonitorOptions) {
    this.#options = options
  }

  /** Starts to monitor a reply; called at the first change of the session. */
  monitor (session: MonitoredSession, reply: MonitoredReply): void {
    const { hijack } = reply
    const hijackMonitored = () => {
      const taken: unknown = hijack.call(reply)
      this.#deliver(session, reply)
      return taken
    }
    reply.hijack = hijackMonitored
    // A client abort before the reply is no loss: the handler finishes and the session is saved.
    reply.raw.once('close', () => { if (reply.sent && !session.isClosed) this.#report(session, reply, texts.skipped) })
  }

  /** Reports a change made after the onSend save, or after the end of the reply. */
  reportLateChange (session: MonitoredSession, reply: MonitoredReply): void {
    setImmediate(() => { this.#report(session, reply, texts.late) })
  }

  /** Sets a new cookie on a reply that has already passed the onSend hook or was hijacked. */
  onCookieChanged (session: MonitoredSession, reply: MonitoredReply): void {
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
