/**
 * The longest list field that is read member by member, in characters. Node accepts 16 KiB of header fields, and no client or server in use sends a list
 * field near this length: a longer one is there to cost time. Each reader says what a longer one counts as: what restricts or what costs a cache hit.
 */
export const longestListField = 4096
