/**
 * Subscribes to topics over one WebSocket that reconnects and resumes.
 *
 *     const live = connect()
 *     const stop = live.subscribe('events', (event) => …, { fetch: () => … })
 *     live.addEventListener('state', () => show(live.state))
 */
export function connect (url = '/live') {
  return new Live(new URL(url, window.location.href))
}

class Live extends EventTarget {
  /** connecting, open, waiting, closed */
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

  /** Calls `fetch` at the start and after lost events. */
  subscribe (topic, listener, { since, fetch } = {}) {
    this.#topics.set(topic, { listener, fetch, since })
    this.#sendSubscribe(topic)
    return () => {
      this.#topics.delete(topic)
      this.#send({ type: 'unsubscribe', topic })
    }
  }

  close () {
    clearTimeout(this.timer)
    this.#setState('closed')
    this.socket?.close()
  }

  #open () {
    clearTimeout(this.timer)
    this.#setState('connecting')
    const socket = this.socket = new WebSocket(this.url)
    socket.onopen = () => {
      this.#setState('open')
      for (const topic of this.#topics.keys()) this.#sendSubscribe(topic)
      this.#watchSilence()
    }
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return
      this.#attempt = 0
      this.#watchSilence()
      this.#onFrame(JSON.parse(data))
    }
    socket.onclose = ({ code }) => socket === this.socket && this.#onLost(code)
  }

  #onLost (code) {
    this.socket?.close()
    this.socket = undefined
    clearTimeout(this.timer)
    if (this.state === 'closed') return
    if (code === 4001) return this.#setState('closed')
    this.#setState('waiting')
    this.timer = setTimeout(() => this.#open(), Math.random() * Math.min(30000, 500 * 2 ** this.#attempt++))
  }

  // A dead connection is silent: ping after 25 s, reconnect 10 s later.
  #watchSilence () {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.#send({ type: 'ping' })
      this.timer = setTimeout(() => this.#onLost(), 10000)
    }, 25000)
  }

  #onFrame ({ type, topic, id, event, ...rest }) {
    const known = this.#topics.get(topic)
    if (type === 'error') this.dispatchEvent(new CustomEvent('error', { detail: { topic, ...rest } }))
    if (!known) return
    const isNew = !known.since || type === 'reset'
    known.since = id ?? event?.id ?? known.since
    if (event) known.listener(event)
    else if (id && isNew) known.fetch?.()
  }

  #sendSubscribe (topic) {
    this.#send({ type: 'subscribe', topic, since: this.#topics.get(topic).since })
  }

  #send (frame) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(frame))
  }

  #setState (state) {
    this.state = state
    this.dispatchEvent(new Event('state'))
  }
}
