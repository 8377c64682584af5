/** Request headers, names in lower case. */
export type RequestFields = Record<string, string | string[] | undefined>

/** Receives each tracked read of a request, its reply or one of their raw messages. */
export interface ReadListener {
  readonly covered: { readonly url: string, readonly received: string | undefined }
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
  /** the logger that the handler uses instead of its request's or reply's */
  log (log: object): object
  /** A payload may have reached Fastify's `send`. */
  payloadSent (): void
  /** reads without reporting the reads */
  withoutTracking<Value> (read: () => Value): Value
  /** Reads, and tells whether the read would be reported. */
  isReported (read: () => unknown): boolean
}

export type Target = Record<PropertyKey, unknown>

/** What the handler sees of a property instead of its value. `read` gives the value. */
export type View = (tracker: ReadListener, read: () => unknown, target: Target) => unknown

/** How objects of one kind are tracked. */
export interface Kind {
  readonly name: string
  /** whether a property is not tracked */
  isFree (key: PropertyKey, target: Target): boolean
  /** Reports a read. By default {@link ReadListener.noteProperty} with the property's own key. */
  readonly report?: (tracker: ReadListener, key: PropertyKey, name: string) => void
  /** properties for which the result of `isFree` depends on the object */
  readonly freeByValue: readonly PropertyKey[]
  readonly views: ReadonlyMap<PropertyKey, View>
  /** whether the object gets a tracked class. Others are tracked property by property, which is slower */
  readonly hasClass?: (target: Target) => boolean
  /** own properties, set by the constructor and never deleted, that become accessors when the object gets its tracked class; listed and copied as before */
  readonly accessors?: ReadonlySet<PropertyKey>
  /** replaced properties that stay accessors when tracking ends: of Node, which nothing looks at as such, and which would cost time */
  readonly staysReplaced?: ReadonlySet<PropertyKey>
  /** adds methods that need special handling */
  readonly addMethods?: (cover: Target, prototype: Target) => void
  /** the own properties that each object of the class has: those that its constructor sets */
  constructed (sample: Target): readonly PropertyKey[]
  /**
   * Own properties cannot report their presence. Those that not every object of the class has are moved behind the prototype while the object is
   * tracked, unless this is false: then their presence is not tracked.
   */
  readonly movesOthers: boolean
  /** properties that Node or Fastify looks for on each object, and that most objects do not have */
  readonly missing?: readonly PropertyKey[]
  /** tracking prototypes, by the original prototype */
  readonly covers: WeakMap<object, object>
  /** accessors that replace own properties, by name */
  readonly replaced: Map<PropertyKey, PropertyDescriptor>
}

/** Reports the read of a property. */
export function report (kind: Kind, tracker: ReadListener, key: PropertyKey, name = `${kind.name}.${String(key)}`): void {
  if (kind.report === undefined) tracker.noteProperty(key, name)
  else kind.report(tracker, key, name)
}

/** Limit for names that an app may choose for each request. */
export const maxRemembered = 1000
