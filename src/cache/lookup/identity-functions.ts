import { OptionError } from '../../shared/errors.ts'
import { isPromise, later, refuseReturned } from '../../shared/returned-values.ts'

/** What a function of the app is asked for: see `tags` and `partition` of a route's options. */
type Asked<Request> = (request: Request) => unknown

const none: readonly string[] = Object.freeze([])

/** The functions of a route, and of the scopes around it, that name tags. */
export class TagFunctions<Request> {
  readonly #functions: readonly Asked<Request>[]
  readonly #warn: (error: unknown) => void
  #hasWarned = false

  /** @param warn told once of what a function has thrown */
  constructor (functions: readonly Asked<Request>[], warn: (error: unknown) => void) {
    this.#functions = functions
    this.#warn = warn
  }

  get isEmpty (): boolean {
    return this.#functions.length === 0
  }

  /**
   * Tags of a request that guards and validation have let pass.
   *
   * @returns undefined where a function throws or names none, or none that a tag may be: the response is not cached, for no purge would find it
   * @throws {OptionError} PRISM_ERR_OPTION for what is no list of texts
   */
  at (request: Request): readonly string[] | undefined {
    try {
      return this.#name(request)
    } catch (error) {
      if (error instanceof OptionError) throw error
      if (!this.#hasWarned) this.#warn(error)
      this.#hasWarned = true
      return undefined
    }
  }

  /** Tags of a request that may be anything; undefined where the functions cannot tell, whatever they do. */
  tryAt (request: Request): readonly string[] | undefined {
    try {
      return this.#name(request)
    } catch {
      return undefined
    }
  }

  #name (request: Request): readonly string[] | undefined {
    let named: readonly string[] | undefined = none
    for (const each of this.#functions) {
      const tags = readTags(each(request))
      named = tags === undefined || named === undefined ? undefined : [...named, ...tags]
    }
    return named
  }
}

/**
 * What a route's function partitions by.
 *
 * @returns undefined where that is nothing: the response is not cached
 * @throws {OptionError} PRISM_ERR_OPTION for what names nothing in particular: several clients would share a response; and what the function throws
 */
export function partitionNamedBy<Request> (partition: Asked<Request>, request: Request): string | undefined {
  const named = partition(request)
  if (named === undefined || named === null || named === '') return undefined
  if (typeof named === 'number' && Number.isFinite(named)) return String(named)
  if (typeof named !== 'string') return refuseReturned('cache.partition()', 'a text, a number or undefined', named)
  return named
}

function readTags (tags: unknown): readonly string[] | undefined {
  if (tags === undefined || tags === null) return undefined
  if (typeof tags === 'string') return readTags([tags])
  if (!Array.isArray(tags)) return refuseReturned('cache.tags()', 'a list of texts', tags)
  const wrong = tags.findIndex((tag: unknown) => typeof tag !== 'string' && !Number.isFinite(tag))
  if (wrong >= 0) {
    for (const promise of tags.filter(isPromise)) later(promise, () => {})
    return refuseReturned(`cache.tags()[${wrong}]`, 'a text', tags[wrong])
  }
  const texts = tags.map(String)
  return texts.every((text) => text !== '' && !text.startsWith('=')) ? texts : undefined
}
