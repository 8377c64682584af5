/** Request headers, names in lower case. */
export type RequestFields = Record<string, string | string[] | undefined>

/** Receives each tracked read of a request, its reply or its raw message. */
export interface ReadListener {
  readonly covered: { readonly url: string }
  /** whether reads are not reported at the moment */
  readonly isPaused: boolean
  note (what: string, remedy?: string): void
  noteProperty (key: PropertyKey, name: string): void
  /** all reply headers are read */
  noteHeaders (): void
  /** A reply header is read. @returns whether the handler must not see it */
  hidesHeader (name: string, read: () => unknown): boolean
  /** the request headers that the handler may see */
  fields (read: () => RequestFields, of: 'request' | 'raw'): RequestFields
  /** reads without reporting the reads */
  withoutTracking<Value> (read: () => Value): Value
}

export type Target = Record<PropertyKey, unknown>

/** What the handler sees of a property instead of its value. `read` gives the value. */
export type View = (tracker: ReadListener, read: () => unknown, target: Target) => unknown

/** How objects of one kind are tracked. */
export interface Kind {
  readonly name: string
  /** whether an own property, or an inherited getter, is not tracked */
  isFree (key: PropertyKey, target: Target): boolean
  /** Reports a read. By default {@link ReadListener.noteProperty} with the property's own key. */
  readonly report?: (tracker: ReadListener, key: PropertyKey, name: string) => void
  readonly views: ReadonlyMap<PropertyKey, View>
  /** adds methods that need special handling */
  readonly addMethods?: (cover: Target, prototype: Target) => void
  /** tracking prototypes, by the original prototype */
  readonly prototypes: WeakMap<object, object>
  /** accessors that replace own properties, by name */
  readonly accessors: Map<PropertyKey, PropertyDescriptor>
}
