/** What is cached: about 100 bytes of JSON. */
export interface Value { readonly id: string, readonly name: string, readonly version: number, readonly text: string }

/** Loads a value from its source. */
export type Load = (key: string) => Promise<Value>

/** A cache of function results, as its documentation recommends to use it with Redis. */
export interface CachePeer {
  get (key: string): Promise<Value>
  /** the same with a tag; undefined: it has no tags */
  readonly getTagged?: (key: string) => Promise<Value>
  /** resolves when the value of a key is invalid, also for other processes as far as the peer promises it */
  invalidate (key: string): Promise<unknown>
}

/** Each peer exports this as its default. */
export type CreatePeer = (url: string, load: Load) => Promise<CachePeer>
