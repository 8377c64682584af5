/**
 * Follows topics of fastify-prism over one WebSocket that comes back by itself, and resumes where it was.
 *
 *     const live = connect()
 *     const stop = live.subscribe('events', (event) => …, { since, reset: () => fetchAnew() })
 *     live.addEventListener('state', () => light(live.state))   // 'connecting', 'open', 'closed'
 */
export function connect (url = '/live') {
  return new Live(new URL(url, window.location.href))
}

class Live extends EventTarget {
  state = 'connecting'
  #topics = new Map()
  #attempt = 0
  #url

  constructor (url) {
    super()
    this.#url = url
    url.protocol = url.protocol.replace('http', 'ws')
    window.addEventListener('online', () => { if (this.state === 'waiting') this.#open() })
    this.#open()
  }

  /** Calls `take` with each event. `reset` is called when some are lost: fetch anew what they would have told. */
  subscribe (topic, take, { since, reset } = {}) {
    this.#topics.set(topic, { take, reset, since })
    this.#ask(topic)
    return () => {
      this.#topics.delete(topic)
      this.#say({ type: 'unsubscribe', topic })
    }
  }

  close () {
    this.#turn('closed')
    this.socket?.close()
  }

  #open () {
    clearTimeout(this.timer)
    this.#turn('connecting')
    const socket = this.socket = new WebSocket(this.#url)
    socket.onopen = () => {
      this.#turn('open')
      for (const topic of this.#topics.keys()) this.#ask(topic)
      this.#listen()
    }
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return
      this.#attempt = 0
      this.#listen()
      this.#take(JSON.parse(data))
    }
    socket.onclose = ({ code }) => { if (socket === this.socket) this.#closed(code) }
  }

  #closed (code) {
    clearTimeout(this.pulse)
    if (this.state === 'closed') return
    if (code === 4001) return this.#turn('closed')
    this.#turn('waiting')
    this.timer = setTimeout(() => this.#open(), Math.random() * Math.min(30000, 500 * 2 ** this.#attempt++))
  }

  // A connection can be dead and not know it: after 25 s of silence it is asked, after 10 more given up.
  #listen () {
    clearTimeout(this.pulse)
    this.pulse = setTimeout(() => {
      this.#say({ type: 'ping' })
      this.pulse = setTimeout(() => {
        const dead = this.socket
        this.socket = undefined
        dead.close()
        this.#closed()
      }, 10000)
    }, 25000)
  }

  #take ({ type, topic, id, event, code, detail }) {
    const known = this.#topics.get(topic)
    if (type === 'error') return this.dispatchEvent(new CustomEvent('error', { detail: { code, detail, topic } }))
    if (!known) return
    known.since = id ?? event?.id ?? known.since
    if (type === 'event') known.take(event)
    if (type === 'reset') known.reset?.()
  }

  #ask (topic) {
    this.#say({ type: 'subscribe', topic, since: this.#topics.get(topic).since })
  }

  #say (frame) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(frame))
  }

  #turn (state) {
    this.state = state
    this.dispatchEvent(new Event('state'))
  }
}
