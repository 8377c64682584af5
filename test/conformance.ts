/**
 * `npm run conformance [test …]`: the public conformance suite for HTTP caches against a proxy with one cached route.
 *
 * Exits with 1 if a required test fails that is not listed here with its reason. About a minute: many tests wait for responses to become stale.
 */
import { bringConformanceSuite } from './support/conformance-suite.ts'
import { cachingProxy } from './support/caching-proxy.ts'

/** Required tests that fail, and why that is correct. */
const known: Readonly<Record<string, string>> = Object.fromEntries(['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage=2'].map((directive) => [
  `stale-close-${directive}`, 'wants the count of an origin that cut the connection before it said it: what leaves is an error, and nothing stale, which is what the section asks for'
]))

const chosen = process.argv.slice(2)
const ends: (() => Promise<void> | void)[] = []
const owner = { after: (end: () => Promise<void> | void) => { ends.unshift(end) } }
try {
  process.exitCode = await main()
} finally {
  for (const end of ends) await end()
}

async function main (): Promise<number> {
  const suite = await bringConformanceSuite()
  const sections = suite.tests.map((section) => ({ ...section, tests: section.tests.filter(({ id }) => chosen.length === 0 || chosen.includes(id)).map((test) => chosen.length === 0 ? test : { ...test, dump: true }) }))
  const proxy = await cachingProxy(owner, { origin: await suite.startOrigin(owner), debug: true })
  const results = await suite.run(sections, await proxy.listen({ port: 0, host: '127.0.0.1' }))

  let unexpected = 0
  for (const kind of ['required', 'optimal', 'check'] as const) {
    const tests = sections.flatMap(({ tests }) => tests).filter((test) => (test.kind ?? 'required') === kind)
    const failed = tests.filter(({ id }) => results[id] !== true)
    console.log(`${kind}: ${tests.length - failed.length} of ${tests.length}${kind === 'check' ? ' say yes: these ask what a cache does, and no answer is wrong' : ''}`)
    if (kind === 'check' && chosen.length === 0) continue
    for (const { id, browser_only: isForBrowsers } of failed) {
      const reason = isForBrowsers === true ? 'asks a browser\'s own cache' : known[id]
      if (kind === 'required' && reason === undefined) unexpected += 1
      console.log(`  ${id}: ${reason ?? String(results[id] ?? 'did not run')}`)
    }
  }
  return unexpected === 0 ? 0 : 1
}
