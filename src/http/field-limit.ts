/**
 * The longest list header that is parsed, in characters. Node accepts 16 KiB of headers, and no real client or server sends a list header near this
 * length: a longer one is an attempt to cost CPU time. Each parser documents how it treats a longer one: it restricts, or costs a cache hit.
 */
export const longestListField = 4096
