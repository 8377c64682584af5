import { readOptions } from './options.ts'
import type { BenchOptions } from './options.ts'
import { workloads } from './request-path/workloads.ts'

// `npm run bench`: the stack beside its peers, interleaved in one run. docs/benchmarks.md describes the method.

/** A bench with contestants of its own; all other names are workloads of the request path. */
interface Bench { readonly title: string, readonly run: (options: BenchOptions) => Promise<void> }

async function benchSingle (options: BenchOptions): Promise<void> {
  const [{ benchRequestPath }, { singleServers }] = await Promise.all([import('./request-path/bench.ts'), import('./request-path/servers.ts')])
  await benchRequestPath({ ...options, names: ['single'], servers: options.servers ?? singleServers })
}

const benches: Readonly<Record<string, Bench>> = {
  events: { title: 'events and live connections beside ws, socket.io, XREAD and @fastify/sse', run: async (options) => await (await import('./events/bench.ts')).benchEvents(options) },
  wrap: { title: 'cache.wrap beside bentocache, cache-manager, cacheable, async-cache-dedupe, ocache and ioredis', run: async (options) => await (await import('./wrap/bench.ts')).benchWrap(options) },
  start: { title: 'from the first import until the server listens, with the packed package', run: async (options) => await (await import('./start/bench.ts')).benchStart(options) },
  single: { title: 'one cached URL over one connection, beside GET in a hook', run: benchSingle }
}

const help = `npm run bench -- [what …] [options]

Measures CPU a request of the stack, the conventional stack and bare Fastify: one server works at a time, in slots of 200 ms in random order.
Figures are medians of the runs' medians; ratios are taken within each run. Without a name: hot, many, misses, refused, far.

Workloads (a name without its ending means the group; "all" means all):
${workloads.map(({ name, title }) => `  ${name.padEnd(18)} ${title}`).join('\n')}

  parts              what each part of the stack adds: "parts" for many users, "parts,misses" for another workload
${Object.entries(benches).map(([name, { title }]) => `  ${name.padEnd(18)} ${title}`).join('\n')}

                     events: --runs, --slots, --servers and --also apply; one run takes about five minutes

Options:
  --runs 5           runs, each with new processes and an empty Redis server for each of them
  --slots 20         measured slots of each server in a run
  --slot-ms 200      length of a slot
  --warm-up 60       most slots to warm up; fewer if all figures are steady before
  --servers a,b      bare, conventional, prism, or parts such as lifecycle, limit, session+cache
  --also n=file?A=b  a server of another file under the name n, with environment variables; repeatable
  --node-flags "…"   flags of Node for each server; none by default, as an app is started
  --json file        all figures of all runs; bench-result.json by default

Examples:
  npm run bench -- many,hot --slots 20 --runs 5
  npm run bench -- body-2k --runs 1
  npm run bench -- parts,misses`

async function main (): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  if (options.isHelp) return console.log(help)
  const own = options.names.filter((name) => benches[name] !== undefined)
  for (const name of own) await benches[name]?.run(options)
  const names = options.names.filter((name) => benches[name] === undefined)
  if (names.length === 0 && own.length > 0) return
  const { benchRequestPath } = await import('./request-path/bench.ts')
  await benchRequestPath({ ...options, names })
}

// Suspended loads and servers end with this process.
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) process.on(signal, () => process.exit(code))

main().then(() => process.exit(), (error: Error) => {
  console.error(`bench: ${error.message}`)
  process.exit(1)
})
