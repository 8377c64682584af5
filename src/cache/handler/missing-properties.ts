import { isReadByAgent, isReadByServer } from './reader.ts'
import type { Kind, ReadListener, Target } from './read-listener.ts'

/** Properties that the language looks for on any object. */
const ofLanguage = new Set<PropertyKey>(['then', 'toJSON', ...Object.values(Object.getOwnPropertyDescriptors(Symbol)).map(({ value }) => value as unknown).filter((value) => typeof value === 'symbol')])

/** Symbols under which a plugin remembers what it made of the request: it reads tracked inputs to make it. `acceptsObject`: @fastify/accepts. */
const memos = new Set(['acceptsObject'])

/** Reports reads of what an object does not have: a hook that sets nothing for this client may set it for another. As the object's prototype it sees only those. */
export class MissingProperties implements ProxyHandler<object> {
  readonly #tracker: ReadListener
  readonly #kind: Kind
  readonly #target: Target

  constructor (target: Target, tracker: ReadListener, kind: Kind) {
    this.#target = target
    this.#tracker = tracker
    this.#kind = kind
  }

  get (prototype: object, key: PropertyKey, receiver: unknown): unknown {
    if (!(key in prototype)) this.#note(key)
    return Reflect.get(prototype, key, receiver)
  }

  has (prototype: object, key: PropertyKey): boolean {
    if (!(key in prototype)) this.#note(key)
    return key in prototype
  }

  #note (key: PropertyKey): void {
    if (this.#tracker.isPaused || ofLanguage.has(key) || (typeof key === 'symbol' && memos.has(key.description ?? ''))) return
    // The test may read the object itself.
    if (this.#tracker.withoutTracking(() => this.#kind.isFree(key, this.#target))) return
    if (isReadByServer() || isReadByAgent()) return
    const name = `${this.#kind.name}.${String(key)}`
    if (this.#kind.report === undefined) this.#tracker.noteProperty(key, name)
    else this.#kind.report(this.#tracker, key, name)
  }
}
