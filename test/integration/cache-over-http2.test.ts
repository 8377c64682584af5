// The tests of the cache's core, over HTTP/2: `cachingApp` reads this variable.
process.env.PRISM_TEST_HTTP2 = 'true'
for (const name of ['cache', 'cache-http', 'cache-variants', 'cache-options', 'cache-conditions', 'cache-not-modified']) await import(`./${name}.test.ts`)
