import { OptionError } from '../../shared/errors.ts'
import { isPromise, later, invalidReturn } from '../../shared/returned-values.ts'

/** A `tags` or `partition` function of a route. */
type RequestFunction<Request> = (request: Request) => unknown

const none: readonly string[] = Object.freeze([])

/** The `tags` functions of a route and its scopes. */
export class TagFunctions<Request> {
  readonly #functions: readonly RequestFunction<Request>[]
  readonly #warn: (error: unknown) => void
  #hasWarned = false

  /** @param warn called once with the first error that a function has thrown */
  constructor (functions: readonly RequestFunction<Request>[], warn: (error: unknown) => void) {
    this.#functions = functions
    this.#warn = warn
  }

  get isEmpty (): boolean {
    return this.#functions.length === 0
  }

  /**
   * Tags of a request that has passed hooks and validation.
   *
   * @returns undefined if a function throws or returns no or invalid tags: the response is not cached, because a purge would not find it
   * @throws {OptionError} PRISM_ERR_OPTION if a function does not return an array of strings
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

  /** Tags of a request that has not been validated; undefined if a function throws or returns no tags. */
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
 * Calls a route's `partition` function.
 *
 * @returns undefined if it returns nothing: the response is not cached
 * @throws {OptionError} PRISM_ERR_OPTION for any type but string and number, because e.g. all promises stringify to the same text; and what the function throws
 */
export function partitionNamedBy<Request> (partition: RequestFunction<Request>, request: Request): string | undefined {
  const named = partition(request)
  if (named === undefined || named === null || named === '') return undefined
  if (typeof named === 'number' && Number.isFinite(named)) return String(named)
  if (typeof named !== 'string') return invalidReturn('cache.partition()', 'a string, a number or undefined', named)
  return named
}

function readTags (tags: unknown): readonly string[] | undefined {
  if (tags === undefined || tags === null) return undefined
  if (typeof tags === 'string') return readTags([tags])
  if (!Array.isArray(tags)) return invalidReturn('cache.tags()', 'an array of strings', tags)
  const wrong = tags.findIndex((tag: unknown) => typeof tag !== 'string' && !Number.isFinite(tag))
  if (wrong >= 0) {
    for (const promise of tags.filter(isPromise)) later(promise, () => {})
    return invalidReturn(`cache.tags()[${wrong}]`, 'a string', tags[wrong])
  }
  const texts = tags.map(String)
  return texts.every((text) => text !== '' && !text.startsWith('=')) ? texts : undefined
}
