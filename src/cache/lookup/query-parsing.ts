import { parse } from 'node:querystring'
import { TwoGenerationLru } from '../../shared/lru.ts'
import { isSame } from '../handler/validated-inputs.ts'
import type { Input } from '../handler/validated-inputs.ts'
import { maxMemoizedLength } from './cache-key.ts'

/**
 * Whether an app parses queries as usual. A parser of its own, such as one that ignores case or reads brackets, makes parameters of other names of the URL:
 * which pairs belong to which parameter cannot be told, so the key contains the URL as received.
 */
export class QueryParsing {
  readonly #known = new TwoGenerationLru<string, 'usual' | 'own'>(1000)

  /** @param query as parsed */
  isUsual (rawUrl: string, query: Input): boolean {
    const start = rawUrl.indexOf('?')
    if (start < 0) return true
    const before = this.#known.get(rawUrl)
    if (before !== undefined) return before === 'usual'
    const isUsual = isSame(query, parse(rawUrl.slice(start + 1), '&', '=', { maxKeys: 0 }))
    if (rawUrl.length <= maxMemoizedLength) this.#known.set(rawUrl, isUsual ? 'usual' : 'own')
    return isUsual
  }
}
