/**
 * `npm run conformance [test …]`: the public conformance suite for HTTP caches against a proxy with one cached route.
 *
 * Exits with 1 when a required or optimal test fails that is not named here with its reason. About a minute: many of its tests wait until responses are
 * stale. `CACHE_TESTS` names a checkout to use instead of the pinned commit.
 */
import { bringConformanceSuite } from './support/conformance-suite.ts'
import { stored } from './support/caching.ts'
import { cachingProxy } from './support/caching-proxy.ts'

const cookie = 'a response with Set-Cookie is never stored: it belongs to one client, and RFC 9111 section 7.3 leaves the choice'
const order = 'an order of languages may be a preference, and a stored variant is not chosen by weights: only the origin knows what it would have sent'
/** The origin says `bytes 4-9/10` and sends five bytes: 4 to 8. */
const missing = 'wants byte 9 of 10 from a stored part that has bytes 4 to 8'

/** Tests that fail, and why that is right. */
const known: Readonly<Record<string, string>> = {
  'headers-store-Set-Cookie': cookie,
  'other-set-cookie': cookie,
  'method-POST': 'responses to POST are not stored',
  'vary-normalise-lang-order': order,
  'vary-normalise-lang-select': order,
  'vary-normalise-space': 'spaces in a header that is not known to be a list may be significant (RFC 9111 section 4.1)',
  'conditional-lm-fresh-no-lm': 'If-Modified-Since is older than the Date of the response, which is used in place of the missing Last-Modified (RFC 9111 section 4.3.2)',
  'partial-store-partial-reuse-partial': missing,
  'partial-store-partial-reuse-partial-absent': missing,
  'partial-store-partial-reuse-partial-suffix': missing,
  'partial-store-partial-reuse-partial-byterange': 'a part is not stored whose Content-Range names more bytes than it has; nor are other partial responses',
  'partial-store-partial-complete': 'partial responses are not stored; these have no strong validator, without which they must not be combined (RFC 9110 section 15.3.7.3)'
}

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
  const sections = suite.tests.map((section) => ({ ...section, tests: section.tests.filter(({ id }) => chosen.length === 0 || chosen.includes(id)).map((test) => chosen.length === 1 ? { ...test, dump: true } : test) }))
  const origin = await suite.startOrigin(owner)
  const proxy = await cachingProxy(owner, { origin, debug: true, server: { logger: { level: 'error' } } })
  // A response is stored just after it was sent, and most tests send their second request at once.
  const plainFetch = globalThis.fetch
  globalThis.fetch = async (url, init) => {
    // The suite's own PUT requests would purge: the first fill of a URL during which anything is purged is not stored.
    const response = await plainFetch(/^https?:\/\/[^/]+\/(?:config|state)\//.test(String(url)) ? String(url).replace(/^https?:\/\/[^/]+/, origin) : url, init)
    await stored(proxy)
    return response
  }
  const results = await suite.run(sections, await proxy.listen({ port: 0, host: '127.0.0.1' }))

  let unexpected = 0
  for (const kind of ['required', 'optimal', 'check'] as const) {
    const tests = sections.flatMap(({ tests }) => tests).filter((test) => (test.kind ?? 'required') === kind)
    const failed = tests.filter(({ id }) => results[id] !== true)
    console.log(`${kind}: ${tests.length - failed.length} of ${tests.length}${kind === 'check' ? ' say yes: these test what a cache does, and no result is wrong' : ''}`)
    if (kind === 'check' && chosen.length === 0) continue
    for (const { id, browser_only: isForBrowsers } of failed) {
      const reason = isForBrowsers === true ? 'tests a browser\'s own cache' : known[id]
      if (kind !== 'check' && reason === undefined) unexpected += 1
      console.log(`  ${id}: ${reason ?? String(results[id] ?? 'did not run')}`)
    }
  }
  return unexpected === 0 ? 0 : 1
}
