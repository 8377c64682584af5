import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { uriTag } from '../../../src/cache/invalidation/uri-tag.ts'
import { normalizeUrl } from '../../../src/cache/lookup/cache-key.ts'
import { checkTopic, isEventId } from '../../../src/events/event.ts'
import { acceptsCoding } from '../../../src/http/accept-encoding.ts'
import { addressGroup } from '../../../src/http/ip-subnet.ts'
import { parseAge } from '../../../src/http/age.ts'
import { parseCacheControl } from '../../../src/http/cache-control.ts'
import { parseGroups } from '../../../src/http/cache-groups.ts'
import { resolveClientAddress } from '../../../src/http/client-address.ts'
import { isNotModified, isPreconditionFailed, isSameRange } from '../../../src/http/conditions.ts'
import { parseHttpDate } from '../../../src/http/date.ts'
import { Methods } from '../../../service/http/methods.ts'
import { AdminAuth } from '../../../src/http/admin-auth.ts'
import { isAllowedOrigin } from '../../../src/http/origin.ts'
import { problemOf } from '../../../src/http/problem.ts'
import { parseRange } from '../../../src/http/range.ts'
import { refusalOf } from '../../../service/http/request-validation.ts'
import { readTarget } from '../../../service/http/request-target.ts'
import { parseTargeted } from '../../../src/http/cdn-cache-control.ts'
import { normaliseField, parseVary } from '../../../src/http/vary.ts'
import { readFrame } from '../../../src/live/frame.ts'
import { readPositions } from '../../../src/live/event-stream-format.ts'
import { readStart } from '../../../src/live/event-stream.ts'
import { customPartition, keyPartition } from '../../../src/rate-limit/partition.ts'
import { readPlace } from '../../../service/atlas/place.ts'
import { matchOf } from '../../../service/atlas/spelling.ts'
import { readCookie, readCookies } from '../../../src/session/cookie-header.ts'
import { readSessionRecord } from '../../../src/session/session-record.ts'

t.setTimeout(600_000)

const methods = new Methods()
for (const pattern of ['/', '/cities', '/cities/:id', '/cities/:id/notes', '/me/places/:cityId', '/ops/:file']) methods.add(pattern, ['GET', 'POST'])
const operator = new AdminAuth('an operator token', true)
const railway = resolveClientAddress({ kind: 'railway' })
const validators = { entityTags: ['"abc"', 'W/"def"'], lastModified: 'Tue, 01 Sep 2026 10:00:00 GMT' }
const message = (headers: object) => ({ method: 'GET', httpVersion: '1.1', headers, rawHeaders: ['Host', 'x'] }) as unknown as IncomingMessage

/** A parser of client input. */
type Parser = (text: string) => unknown

const parsers: Record<string, Parser> = {
  acceptsCoding: (text) => acceptsCoding(text, 'br'),
  addressGroup: (text) => addressGroup(text),
  parseAge,
  parseCacheControl,
  'parseCacheControl of many lines': (text) => parseCacheControl(text.split('e')),
  parseGroups,
  'x-real-ip': (text) => railway.prepare(message({ 'x-real-ip': text })),
  'if-match': (text) => isPreconditionFailed({ 'if-match': text }, validators),
  'if-none-match': (text) => isNotModified({ 'if-none-match': text }, validators),
  'if-modified-since': (text) => isNotModified({ 'if-modified-since': text }, validators),
  'if-range': (text) => isSameRange({ 'if-range': text }, validators),
  parseHttpDate: (text) => parseHttpDate(text),
  'allowed methods': (text) => methods.of(`/${text}`),
  'operator token': (text) => { try { operator.check(text) } catch {} },
  'operator cookie': (text) => { try { operator.check(undefined, text) } catch {} },
  origin: (text) => isAllowedOrigin({ origin: text, site: undefined, host: 'example.com' }, []),
  'origin host': (text) => isAllowedOrigin({ origin: `http://${text}`, site: undefined, host: 'example.com' }, []),
  host: (text) => isAllowedOrigin({ origin: 'http://example.com', site: undefined, host: text }, []),
  'problem of a member': (text) => problemOf({ validation: [{ instancePath: text, params: { additionalProperty: text } }], validationContext: 'body' }, '1'),
  parseRange: (text) => parseRange(text, 1000),
  'refusal of a Host': (text) => refusalOf(message({ host: text })),
  'refusal of a coding': (text) => refusalOf(message({ host: 'x', 'transfer-encoding': text, expect: text })),
  readTarget: (text) => readTarget({ url: text, headers: {} }),
  parseTargeted,
  parseVary,
  'accept-language': (text) => normaliseField('accept-language', text),
  'another field of Vary': (text) => normaliseField('x-a', text),
  readCookie: (text) => readCookie(text, 'sid'),
  readCookies: (text) => readCookies(text, 'sid'),
  normalizeUrl: (text) => normalizeUrl(`/cities?${text}`, undefined),
  'normalizeUrl of a list': (text) => normalizeUrl(`/cities?${text}`, new Set(['q'])),
  uriTag: (text) => uriTag({ host: 'x' }, text),
  checkTopic: (text) => { try { checkTopic(text) } catch {} },
  isEventId,
  readFrame,
  readPositions: (text) => readPositions(text, ['events', 'user:7']),
  readStart: (text) => { try { readStart({ topic: ['events'], since: undefined }, text) } catch {} },
  customPartition,
  keyPartition,
  readPlace: (text) => { try { readPlace(text) } catch {} },
  matchOf: (text) => matchOf(text.slice(0, 100)),
  readStored: (text) => { try { readSessionRecord(text) } catch {} }
}

const starts = ['', 'a', 'bytes=', 'max-age=', 'private="', 'a="', 'W/"', 'Bearer ', 'http://', 'sid=', '1,', '[', '(', 'params=("']
const units = [' ', '\t', ',', ' ,', ';', ' ;', '; ', '=', '"', '\\', '\\"', '"\\', '"a', '"a" ', ',"', '(', '()', '(( ', '("', 'a', 'a ', 'a,', 'a;', 'a=', '&a=', '&a[]=', 'a="', 'a=";', 'a="b",', '%', '%25', '%e4%b8%ad', '+', '-', '9', '0-0;', '=0-0;', '..', '::', '/', '?', '@', '\u00e9', 'no-store ', 'max-age=9999999999,', 'private="a",', 'sid=', ';sid=', 'xn--', 'q=0.000;', '{"a":']
const ends = ['', 'x', '"']
/** Each start is combined with each unit; with each end too in `npm run soak properties`, otherwise with one of them in turn. */
const areAllEnds = process.env.SOAK_FACTOR !== undefined
/** Time limit of the first sizes; below a tenth of it the ratio is dominated by the clock. */
const boundMs = 1

/** CPU time of this process in ms: other processes may have the processor for any time. */
function cpuMs (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** The minimum of seven runs in ms of CPU time; fewer runs if one is fast enough, more if the machine is busy. */
function leastMs (parse: Parser, text: string, enough: number): number {
  let least = Infinity
  for (let run = 0; run < (enough === 0 ? 7 : 40) && least > enough; run++) {
    const startedAt = cpuMs()
    parse(text)
    least = Math.min(least, cpuMs() - startedAt)
  }
  return least
}

/** The problem of a parser's times for a repeated text, or undefined. */
function faultOf (parse: Parser, grown: (length: number) => string): string | undefined {
  for (const length of [2048, 4096, 10_000, 16_384]) {
    const ms = leastMs(parse, grown(length), boundMs)
    if (ms > boundMs) return `${length} characters take ${ms.toFixed(2)} ms`
  }
  const small = Math.max(leastMs(parse, grown(15_000), 0), boundMs / 10)
  const large = leastMs(parse, grown(120_000), small * 20)
  return large > small * 20 ? `8 times as much takes ${(large / small).toFixed(1)} times as long` : undefined
}

for (const [name, parse] of Object.entries(parsers)) {
  t.test(`${name} parses hostile text in linear time: 16 kB within 1 ms of CPU time, and 8 times as much in at most 20 times as long`, async (t) => {
    const faults: string[] = []
    for (const [row, start] of starts.entries()) {
      for (const [column, unit] of units.entries()) {
        for (const end of areAllEnds ? ends : ends.slice((row + column) % 3, (row + column) % 3 + 1)) {
          const fault = faultOf(parse, (length) => start + unit.repeat(Math.ceil(length / unit.length)) + end)
          if (fault !== undefined) faults.push(`${JSON.stringify([start, unit, end])}: ${fault}`)
        }
      }
      if (faults.length > 10) break
    }
    t.same(faults.slice(0, 10), [])
  })
}
