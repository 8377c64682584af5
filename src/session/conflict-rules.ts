import { readRecord, invalidOption } from '../shared/option-readers.ts'

/**
 * Merges two concurrent writes of one key.
 *
 * @param base the value that this request started from
 * @param mine the value that this request has set
 * @param theirs the value that another request has saved meanwhile
 * @returns the value to save; undefined deletes the key
 */
export type MergeFunction = (base: unknown, mine: unknown, theirs: unknown) => unknown

/**
 * How concurrent writes of one session key are resolved: `'reject'` throws PRISM_ERR_SESSION_CONFLICT (409), `'lastWriteWins'` overwrites, a
 * function merges. Without a rule, a write of a key that the request has not read overwrites, and a write of a key that it has read is rejected.
 */
export type ConflictRule = 'reject' | 'lastWriteWins' | MergeFunction

/** The rule of each key, if it has one. */
export interface ConflictRules {
  get (key: string): ConflictRule | undefined
}

/** Name of the rule for all keys without their own rule. */
const defaultName = 'default'

/**
 * Keys of widely used plugins, which read a key and then set it with every page, and do not handle conflicts:
 * @fastify/csrf-protection (`_csrf`), @fastify/flash (`flash`), @fastify/passport (`passport`, `messages`, `returnTo`).
 */
const pluginKeys = ['_csrf', 'flash', 'passport', 'messages', 'returnTo']

/**
 * Resolves `session.onConflict`. Precedence: the rule of the key, `lastWriteWins` for the keys of widely used plugins, then `default`.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readConflictRules (onConflict: unknown): ConflictRules {
  const record = readRecord('session.onConflict', onConflict, Object.keys(Object(onConflict)))
  const rules = new Map<string, ConflictRule>(pluginKeys.map((key) => [key, 'lastWriteWins']))
  for (const [key, rule] of Object.entries(record)) rules.set(key, readRule(`session.onConflict.${key}`, rule))
  const fallback = rules.get(defaultName)
  return fallback === undefined ? rules : { get: (key) => rules.get(key) ?? fallback }
}

function readRule (option: string, rule: unknown): ConflictRule {
  if (rule === 'reject' || rule === 'lastWriteWins' || typeof rule === 'function') return rule as ConflictRule
  return invalidOption(option, "'reject', 'lastWriteWins' or a function (base, mine, theirs) => …", rule)
}
