import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '../..')

/** The interfaces that callers write, by file. */
const written: Record<string, string[]> = {
  'plugins/index.ts': ['PrismOptions'],
  'plugins/connection-limits.ts': ['ConnectionOptions'],
  'plugins/metrics.ts': ['MetricsOptions'],
  'src/cache/options.ts': ['RouteCacheOptions', 'CacheOptions', 'PurgeOptions'],
  'src/cache/wrap-options.ts': ['WrapOptions'],
  'src/events/options.ts': ['RetainOptions', 'EventsOptions'],
  'src/live/options.ts': ['LivePaths', 'LiveOptions'],
  'src/rate-limit/options.ts': ['LimitChoice', 'LimitOptions'],
  'src/redis/options.ts': ['RedisOptions'],
  'src/session/options.ts': ['SessionCookieOptions', 'SessionOptions']
}

t.test('each option has a comment in its type that says its default, or that it is required', async (t) => {
  let count = 0
  for (const [file, names] of Object.entries(written)) {
    const text = readFileSync(join(root, file), 'utf8')
    for (const name of names) {
      const [, body = ''] = new RegExp(`^(?:export )?interface ${name}\\b[^\\n]*\\{\\n([\\s\\S]*?)^\\}`, 'm').exec(text) ?? []
      const properties = [...body.matchAll(/(?:^ {2}\/\*\*(.*)\*\/\n)?^ {2}(?:readonly )?(\w+)\??:/gm)]
      t.ok(properties.length > 0, `${file} ${name}`)
      t.same(properties.filter(([, comment = '']) => !/default|required/i.test(comment)).map(([, , option]) => option), [], `${file} ${name}`)
      count += properties.length
    }
  }
  t.ok(count > 80, `${count} options`)
})
