import type { CacheStatus } from '../http/cache-status.ts'
import type { Miss } from './handler-context.ts'
import type { FillError } from './single-flight/fill-error.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { Entry } from './storage/entry-codec.ts'

/** Why the handler runs, and the stale entry that the run may revalidate, or that may be served instead. */
export type RunReason = Pick<Miss, 'reason' | 'stale'>

/** Options of one handler run. */
export interface RunOptions {
  readonly fill?: InProcessFill<Entry> | undefined
  readonly sequence: number | undefined
  readonly detail?: string | undefined
}

/** What happens to a request whose lookup has found nothing that may be served. The route carries it out. */
export type Decision =
  | { readonly act: 'serve', readonly entry: Entry, readonly status: CacheStatus }
  /** runs the handler for this request only, as Redis is unavailable; nothing is stored */
  | { readonly act: 'forward' }
  /** runs the handler, unless `maxConcurrency` is reached */
  | { readonly act: 'run', readonly why: RunReason, readonly options: RunOptions }
  /** `maxConcurrency` is reached: serves the stale entry, or rejects the request */
  | { readonly act: 'refuse', readonly stale: Entry | undefined }
  /** the run that the request has waited for has failed: it fails with the same error */
  | { readonly act: 'fail', readonly why: RunReason, readonly error: FillError }

export function serve (entry: Entry, status: CacheStatus): Decision {
  return { act: 'serve', entry, status }
}

export function run (why: RunReason, options: RunOptions): Decision {
  return { act: 'run', why, options }
}

export const forward: Decision = Object.freeze({ act: 'forward' })
