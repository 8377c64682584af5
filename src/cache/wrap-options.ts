import { invalidOption, readBoolean, readDuration, readRecord } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { CacheTag } from './cache-tags.ts'
import { readTags } from './options.ts'

/** Options of `cache.wrap`. */
export interface WrapOptions {
  /** How long the value is used: `'30s'`, `'5m'`, `'1h'`. Required. */
  ttl: Duration
  /** Names to purge the value by, as those of responses. Default: none. */
  tags?: readonly CacheTag[]
  /** Calls the function now, and stores its result in place of the stored value, which is served until then. Default: false. */
  refresh?: boolean
}

const noTags: readonly string[] = Object.freeze([])
const rememberedTtls = 100
const ttls = new Map<unknown, number>()

/** Rejects unknown options, and a call without the function. Each call brings its options, so what is right almost always has a cheap test, and the option reader names what is wrong. */
export function checkWrapOptions (options: WrapOptions, make: unknown): void {
  if (!hasOnlyKnown(options)) readRecord('wrap', options, ['ttl', 'tags', 'refresh'])
  if (typeof make !== 'function') invalidOption('wrap function', 'a function that returns the value', make)
}

export function readRefresh ({ refresh }: WrapOptions): boolean {
  return refresh === undefined ? false : readBoolean('wrap.refresh', refresh ?? false)
}

export function readTtlMs ({ ttl }: WrapOptions): number {
  const known = ttls.get(ttl)
  if (known !== undefined) return known
  const ttlMs = readDuration('wrap.ttl', ttl)
  if (ttls.size >= rememberedTtls) ttls.clear()
  ttls.set(ttl, ttlMs)
  return ttlMs
}

export function readWrapTags ({ tags }: WrapOptions): readonly string[] {
  if (tags === undefined || tags === null) return noTags
  return areUsualTags(tags) ? [...tags] : readTags(tags)
}

function hasOnlyKnown (options: WrapOptions): boolean {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) return false
  for (const name in options) if (name !== 'ttl' && name !== 'tags' && name !== 'refresh') return false
  return true
}

function areUsualTags (tags: readonly string[]): boolean {
  if (!Array.isArray(tags)) return false
  for (const tag of tags) if (typeof tag !== 'string' || tag === '' || tag.startsWith('=')) return false
  return true
}
