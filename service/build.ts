import { readFileSync } from 'node:fs'
import type { Build } from '../plugins/metrics.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** Version and commit of the service. `RAILWAY_GIT_COMMIT_SHA` is set by Railway, `GIT_COMMIT` by any other build; '' if neither is a hash. */
export function readBuild (environment: Readonly<Record<string, string | undefined>>): Build {
  const commit = environment.RAILWAY_GIT_COMMIT_SHA ?? environment.GIT_COMMIT ?? ''
  return { version, commit: /^[0-9a-f]{7,64}$/i.exec(commit.trim())?.[0].slice(0, 12).toLowerCase() ?? '' }
}
