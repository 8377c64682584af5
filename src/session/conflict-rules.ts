import { readRecord, invalidOption } from '../shared/option-readers.ts'

/** Joins two writes of one key: what both began from, what this request set, what another has saved meanwhile. */
export type Merge = (base: unknown, mine: unknown, theirs: unknown) => unknown

/** What happens when two requests set the same key at once. Without a rule a set of a key that the request has not read wins, and one of a key that it has read is a conflict. */
export type KeyRule = { lastWriteWins: true } | { merge: Merge }

/** The rule of each key, where it has one. */
export interface KeyRules {
  get (key: string): KeyRule | undefined
}

/** The name of the rule for all keys that have no rule of their own. */
const defaultName = 'default'

/**
 * Keys of widely used plugins, which read a key and then set it with every page, and know nothing of conflicts:
 * @fastify/csrf-protection (`_csrf`), @fastify/flash (`flash`), @fastify/passport (`passport`, `messages`, `returnTo`).
 */
const pluginKeys = ['_csrf', 'flash', 'passport', 'messages', 'returnTo']

/**
 * Reads the rules of keys: those that are named, then those of widely used plugins, then `default`.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readKeyRules (keys: unknown): KeyRules {
  const record = readRecord('session.onConflict', keys, Object.keys(Object(keys)))
  const rules = new Map<string, KeyRule>(pluginKeys.map((key) => [key, { lastWriteWins: true }]))
  for (const [key, rule] of Object.entries(record)) rules.set(key, readRule(`session.onConflict.${key}`, rule))
  const otherwise = rules.get(defaultName)
  return otherwise === undefined ? rules : { get: (key) => rules.get(key) ?? otherwise }
}

function readRule (option: string, rule: unknown): KeyRule {
  const { lastWriteWins, merge } = readRecord(option, rule, ['lastWriteWins', 'merge'])
  if (lastWriteWins === true && merge === undefined) return { lastWriteWins }
  if (typeof merge === 'function' && lastWriteWins === undefined) return { merge: merge as Merge }
  return invalidOption(option, '{ lastWriteWins: true } or { merge: (base, mine, theirs) => … }', rule)
}
