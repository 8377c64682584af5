// Holds the language of docs/glossary.md: replaced words do not return.
// `node test/project/glossary.test.ts --write` lowers the baseline to the current counts; it never raises a count.
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '../..')
const baselineFile = join(import.meta.dirname, 'glossary-baseline.json')
const checked = ['plugins', 'src', 'service', 'routes', 'test', 'bench', 'tools', 'docs', 'README.md', 'ARCHITECTURE.md']
/** This file lists the words, and the report quotes the package's texts, which are checked where they are written. */
const unchecked = ['test/project/glossary.test.ts', 'test/package/api-report.md']

/** Forbidden words = what to write instead. Compared in lower case, in prose and in the parts of identifiers. */
const table = `
answer answers answered answering unanswered = response, reply, result; respond, reply, return
ask asks asked asking = request, call, query
whoever nobody somebody he him his = the name of the thing: the process, the request, the caller
anew = again
shall = must, or the present tense
stands = is
bears = has
journey beat beats = request lifecycle, step, hook
traveller travellers = request
lane lanes tower = connection, connection pool, write observer
flight flights = in-flight write, single flight
parcel parcels cargo = batched command, in-flight command
hearer hearing = reply listener, pending decision
turnstile = semaphore
speller = key builder
grave graves = tombstone
house = the global limit, the session manager
witness = input tracker
visit visitor visitors stranger strangers claimant = request state, client, user
census = cluster connections, keyspace statistics
entrance = lock queue
reservation reservations = prefetched lock
standing standings = quota status, memory usage, sequence at request
grants verdict verdicts = script reply, decision
shield = deny cache
settling keeping swapping = finalize, store, stale-while-revalidate
farewell = close frame
provenance = request origin
door = admin auth
`
const words = new Map(table.trim().split('\n').flatMap((row) => {
  const [list = '', instead = ''] = row.split(' = ')
  return list.split(' ').map((word) => [word, instead] as const)
}))

/** Standard terms that contain a forbidden word: of the glossary, of Redis (the redirection ASK, the right to ASKING), of npm (provenance), and the reason code `no_answer`. */
const terms = /\bASK\b|\+asking\b|\bno_answer\b|\bprovenance: true\b|(?<![A-Za-z])(?:[Ss]ingle|[Ii]n)[\s_-]?flights?(?![a-z])|(?<=[a-z])(?:Single|In)Flight|(?<![A-Za-z])(?:Single|In|single|in)Flight/g

interface Finding { readonly word: string, readonly line: number }

/** Forbidden words in a text. Identifiers are split where lower case meets upper case, and at every character that is not a letter. */
function findIn (text: string): Finding[] {
  return text.split('\n').flatMap((line, index) => {
    const parts = line.replace(terms, '').replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/([A-Z])([A-Z][a-z])/g, '$1 $2').toLowerCase().match(/[a-z]+/g) ?? []
    return parts.filter((part) => words.has(part)).map((word) => ({ word, line: index + 1 }))
  })
}

function filesIn (path: string): string[] {
  if (!statSync(join(root, path)).isDirectory()) return [path]
  return readdirSync(join(root, path)).filter((name) => name !== 'node_modules').sort().flatMap((name) => filesIn(`${path}/${name}`))
}

function findAll (): Map<string, Finding[]> {
  const files = checked.flatMap(filesIn).filter((file) => /\.(ts|js|mjs|lua|md|html|css)$/.test(file) && !unchecked.includes(file))
  const found = new Map<string, Finding[]>()
  for (const file of files) found.set(file, [...findIn(file).map(({ word }) => ({ word, line: 0 })), ...findIn(readFileSync(join(root, file), 'utf8'))])
  return found
}

type Baseline = Record<string, number>

function readBaseline (): Baseline | undefined {
  return existsSync(baselineFile) ? JSON.parse(readFileSync(baselineFile, 'utf8')) as Baseline : undefined
}

function lowered (found: Map<string, Finding[]>, before: Baseline | undefined): Baseline {
  const counts = [...found].map(([file, { length }]) => [file, before === undefined ? length : Math.min(length, before[file] ?? 0)] as const)
  return Object.fromEntries(counts.filter(([, count]) => count > 0))
}

/** One text per occurrence in a file that has more of them than its baseline. */
function complaintsOf (found: Map<string, Finding[]>, baseline: Baseline): string[] {
  return [...found].filter(([file, { length }]) => length > (baseline[file] ?? 0)).flatMap(([file, findings]) =>
    findings.map(({ word, line }) => `${file}:${line} "${word}": write ${words.get(word)}; see docs/glossary.md (${findings.length} in this file, at most ${baseline[file] ?? 0} allowed)`))
}

if (process.argv.includes('--write')) {
  writeFileSync(baselineFile, `${JSON.stringify(lowered(findAll(), readBaseline()), null, 2)}\n`)
} else {
  t.test('replaced words do not return', async (t) => {
    t.same(complaintsOf(findAll(), readBaseline() ?? {}), [])
  })

  t.test('the baseline names only files that exist', async (t) => {
    t.same(Object.keys(readBaseline() ?? {}).filter((file) => !existsSync(join(root, file))), [])
  })

  t.test('a replaced word is found in prose, identifiers and file names, and a standard term is not', async (t) => {
    t.same(findIn('a\n// Nobody waits\nconst oldLane = new LimitHouse(flight)').map(({ word, line }) => `${line} ${word}`), ['2 nobody', '3 lane', '3 house', '3 flight'])
    t.same(findIn('MOVED, ASK, +asking, code: no_answer, no_answers').map(({ word }) => word), ['answers'])
    t.same(findIn('single flight, Single flight, in-flight, prism_redis_in_flight_commands, new InFlightWrite(singleFlight), heartbeat, SingleFlightGroup'), [])
    t.match(complaintsOf(new Map([['a.ts', [{ word: 'lane', line: 3 }]]]), {})[0], /^a\.ts:3 "lane": write connection, .*; see docs\/glossary\.md/)
    t.same(lowered(new Map([['a', [{ word: 'lane', line: 1 }, { word: 'lane', line: 2 }]], ['b', []], ['new', [{ word: 'lane', line: 1 }]]]), { a: 1, b: 3 }), { a: 1 })
  })
}
