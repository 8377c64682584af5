/**
 * Follows topics over one WebSocket, which comes back by itself and resumes.
 *
 *     const live = connect()
 *     const stop = live.subscribe('events', (event) => …, { fetch: () => … })
 *     live.addEventListener('state', () => light(live.state))
 */
export function connect (url = '/live') {
  return new Live(new URL(url, window.location.href))
}

class Live extends EventTarget {
  /** connecting, open, waiting (to try again), closed */
  state
  #topics = new Map()
  #attempt = 0

  constructor (url) {
    super()
    url.protocol = url.protocol.replace('http', 'ws')
    this.url = url
    window.addEventListener('online', () => this.state === 'waiting' && this.#open())
    this.#open()
  }

  /** Calls `take` with each event; `fetch` at the beginning and when some are lost, to load what earlier ones told. */
  subscribe (topic, take, { since, fetch } = {}) {
    this.#topics.set(topic, { take, fetch, since })
    this.#ask(topic)
    return () => {
      this.#topics.delete(topic)
      this.#say({ type: 'unsubscribe', topic })
    }
  }

  close () {
    clearTimeout(this.timer)
    this.#turn('closed')
    this.socket?.close()
  }

  #open () {
    clearTimeout(this.timer)
    this.#turn('connecting')
    const socket = this.socket = new WebSocket(this.url)
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
    socket.onclose = ({ code }) => socket === this.socket && this.#lost(code)
  }

  #lost (code) {
    this.socket?.close()
    this.socket = undefined
    clearTimeout(this.timer)
    if (this.state === 'closed') return
    if (code === 4001) return this.#turn('closed')
    this.#turn('waiting')
    this.timer = setTimeout(() => this.#open(), Math.random() * Math.min(30000, 500 * 2 ** this.#attempt++))
  }

  // A dead connection is silent: after 25 s it is asked, after 10 more given up.
  #listen () {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.#say({ type: 'ping' })
      this.timer = setTimeout(() => this.#lost(), 10000)
    }, 25000)
  }

  #take ({ type, topic, id, event, ...rest }) {
    const known = this.#topics.get(topic)
    if (type === 'error') this.dispatchEvent(new CustomEvent('error', { detail: { topic, ...rest } }))
    if (!known) return
    const isNew = !known.since || type === 'reset'
    known.since = id ?? event?.id ?? known.since
    if (event) known.take(event)
    else if (id && isNew) known.fetch?.()
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
