import type { Owner } from '../test/support/cleanup-scope.ts'

/** Runs a function that owns servers and connections, and closes them after it in reverse order. */
export async function withOwner<Result> (run: (owner: Owner) => Promise<Result>): Promise<Result> {
  const ends: (() => Promise<void> | void)[] = []
  try {
    return await run({ after: (end) => ends.push(end) })
  } finally {
    for (const end of ends.reverse()) await end()
  }
}
