import { readFileSync } from 'node:fs'
import { hash } from 'node:crypto'
import { dirname, join, sep } from 'node:path'
import type { Batch } from './batch/batch.ts'
import { Script } from './batch/script.ts'
import type { Keys } from './keys.ts'

const announce = new Script<readonly string[]>({ url: new URL('./announce-app.lua', import.meta.url), costMicroseconds: 10, read: (reply) => (reply as unknown[]).map(String) })

/** An app counts as running for this long after one of its processes has announced it. */
export const announcedMs = 900_000
const renewEveryMs = 300_000

/**
 * Announces the app's name in Redis and reports other apps under the same key prefix: they would serve each other's cached responses and share sessions
 * and counters. Processes of one app have one name.
 */
export class AppAnnouncer {
  readonly #name: string
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #onFound: (names: readonly string[]) => void
  readonly #reported = new Set<string>()
  readonly #timer: NodeJS.Timeout

  /** @param onFound called with the names that were not reported before */
  constructor (name: string, batch: Batch, keys: Keys, onFound: (names: readonly string[]) => void) {
    this.#name = name
    this.#batch = batch
    this.#keys = keys
    this.#onFound = onFound
    this.#timer = setInterval(() => this.announce(), renewEveryMs).unref()
  }

  /** Announces the app now. A failure is ignored: this is repeated, and nothing depends on it. */
  announce (): void {
    this.#batch.runScript(announce, [this.#keys.apps()], [this.#name, announcedMs], 'background').then((others) => this.#report(others), () => {})
  }

  close (): void {
    clearInterval(this.#timer)
  }

  #report (others: readonly string[]): void {
    const found = others.filter((name) => !this.#reported.has(name))
    for (const name of found) this.#reported.add(name)
    if (found.length > 0) this.#onFound(found)
  }
}

/**
 * The default name of this app: that of the package that the main script or the working directory is part of. It is the same in all processes of the
 * app and in its next release.
 */
export function defaultAppName (script = process.argv[1] ?? '', directory = process.cwd()): string {
  const isOfPackage = script === '' || script.split(sep).includes('node_modules')
  const folders = [...isOfPackage ? [] : [dirname(script)], directory]
  const name = folders.map(packageNameAt).find((found) => found !== undefined)
  return name ?? `unnamed-${hash('sha256', directory, 'hex').slice(0, 8)}`
}

/** The name in the nearest package.json that has one. */
function packageNameAt (folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    try {
      const { name } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { name?: unknown }
      if (typeof name === 'string' && name !== '') return name
    } catch {} // no readable package.json: one may be in the folder around it
    if (dirname(at) === at) return undefined
  }
}
