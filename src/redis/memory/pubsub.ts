import { bulk, PushReply } from './reply.ts'

/** A client that receives messages. */
export interface Listener {
  send (message: PushReply): void
}

/** The subscriptions of all clients, to channels and to patterns. Names are in latin1. */
export class PubSub {
  readonly #channels = new Map<string, Set<Listener>>()
  readonly #patterns = new Map<string, Set<Listener>>()

  subscribe (name: string, listener: Listener, isPattern = false): void {
    const all = isPattern ? this.#patterns : this.#channels
    all.set(name, (all.get(name) ?? new Set()).add(listener))
  }

  unsubscribe (name: string, listener: Listener, isPattern = false): void {
    const all = isPattern ? this.#patterns : this.#channels
    const listeners = all.get(name)
    if (listeners?.delete(listener) === true && listeners.size === 0) all.delete(name)
  }

  /** @returns the number of messages sent */
  publish (channel: Buffer, message: Buffer): number {
    const name = channel.toString('latin1')
    let count = 0
    for (const listener of this.#channels.get(name) ?? []) {
      listener.send(new PushReply([bulk('message'), channel, message]))
      count += 1
    }
    for (const [pattern, listeners] of this.#patterns) {
      if (!matchesPattern(pattern, name)) continue
      for (const listener of listeners) listener.send(new PushReply([bulk('pmessage'), Buffer.from(pattern, 'latin1'), channel, message]))
      count += listeners.size
    }
    return count
  }

  /** Channels with a subscriber that match a pattern. */
  channels (pattern = '*'): string[] {
    return [...this.#channels.keys()].filter((name) => matchesPattern(pattern, name))
  }

  subscribers (channel: string): number {
    return this.#channels.get(channel)?.size ?? 0
  }

  get patternCount (): number {
    return this.#patterns.size
  }
}

/** Matches a glob of Redis: `*`, `?`, `[a-c]`, `[^a]` and `\` before a character. */
export function matchesPattern (pattern: string, text: string): boolean {
  return expressionOf(pattern).test(text)
}

function expressionOf (pattern: string): RegExp {
  const parts = pattern.matchAll(/\\([^])|\[(\^?)((?:\\[^]|[^\]\\])*)\]?|([*?])|([^])/g)
  let source = ''
  for (const [, literal, not, members, wildcard, plain] of parts) {
    if (wildcard !== undefined) source += wildcard === '*' ? '[^]*' : '[^]'
    else if (members !== undefined) source += setOf(not === '^', members)
    else source += escaped(literal ?? plain ?? '')
  }
  return new RegExp(`^${source}$`)
}

function setOf (isNegated: boolean, members: string): string {
  const ranges = [...members.matchAll(/(?:\\([^])|([^]))(?:-(?:\\([^])|([^])))?/g)].map(([, literal, first = literal ?? '', literalEnd, last = literalEnd]) => {
    const [low, high] = [first, last ?? first].sort()
    return `${escaped(low ?? '')}-${escaped(high ?? '')}`
  })
  if (ranges.length === 0) return isNegated ? '[^]' : '(?!)'
  return `[${isNegated ? '^' : ''}${ranges.join('')}]`
}

function escaped (character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
