/**
 * The tags of an app, as keys. An app that declares them is told by the compiler of a tag that is misspelt; without a declaration any text is a tag.
 *
 * ```ts
 * declare module 'fastify-prism' {
 *   interface CacheTags { cities: true, [city: `city:${string}`]: true }
 * }
 * ```
 */
export interface CacheTags {}

/** A tag: a key of {@link CacheTags}; any text where an app declares none. */
export type CacheTag = keyof CacheTags extends never ? string : Extract<keyof CacheTags, string>
