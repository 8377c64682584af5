import { HttpClient } from './http-client.ts'
import type { Target } from './target.ts'

const bytes = 15_000
const tries = 5
/** Limit above the time of the same probe beside an ordinary request. A linear parser takes less than 1 ms. */
const maxStallMs = 40

const names = [
  'Range', 'If-Range', 'Cache-Control', 'Accept', 'Accept-Encoding', 'Accept-Language', 'If-None-Match', 'If-Match', 'If-Modified-Since', 'Authorization', 'Cookie', 'Origin', 'Referer',
  'Forwarded', 'X-Forwarded-For', 'X-Forwarded-Host', 'Content-Type', 'Last-Event-ID', 'User-Agent', 'Traceparent'
]
/** Texts that a quadratic parser reads repeatedly. */
const patterns: Readonly<Record<string, (size: number) => string>> = {
  commas: (size) => ','.repeat(size),
  'commas and spaces': (size) => ', '.repeat(size / 2),
  spaces: (size) => `a${' '.repeat(size - 2)}b`,
  tabs: (size) => `a,${'\t'.repeat(size - 3)}b`,
  semicolons: (size) => `a${';'.repeat(size - 1)}`,
  'open quotes': (size) => '"'.repeat(size),
  'a quote that does not end': (size) => `a="${'\\"'.repeat(size / 2 - 2)}`,
  'quotes that do not end': (size) => 'a="'.repeat(size / 3),
  'nested comments': (size) => '('.repeat(size),
  'names and values': (size) => 'a=b,'.repeat(size / 4),
  weights: (size) => 'a;q=0.1,'.repeat(size / 8),
  ranges: (size) => `bytes=${'0-0,'.repeat((size - 6) / 4)}`,
  'spaces in ranges': (size) => `bytes=0-0${' '.repeat(size - 10)}x`,
  'spaces before a range': (size) => `bytes=${' '.repeat(size - 7)}x`,
  'spaces behind a dash': (size) => `bytes=0-${' '.repeat(size - 9)}x`,
  'spaces behind a parameter': (size) => `gzip;q=${' '.repeat(size - 8)}x`,
  'spaces behind a name': (size) => `max-age=1,a${' '.repeat(size - 12)};b`,
  'spaces behind a quote': (size) => `"a"${' '.repeat(size - 4)}"`,
  digits: (size) => `bytes=0-${'9'.repeat(size - 8)}`,
  cookies: (size) => 'sid=a; '.repeat(size / 7)
}
const paths = ['/cities/2988507', '/cities?q=paris', '/nothing']

/** Sends one 15 kB header at a time while another client sends cheap requests: their delay is the cost of the header. */
export async function sendHostileHeaders (target: Target): Promise<void> {
  const { service } = target
  const [hostile, other] = [new HttpClient(service.port), new HttpClient(service.port)]
  const plain = await fastest(target, hostile, other, request('/cities/2988507', 'X-Plain', 'a', 0))
  let [sent, worst] = [0, { what: 'none', ms: 0 }]
  for (const path of paths) {
    for (const name of names) {
      for (const [pattern, valueOf] of Object.entries(patterns)) {
        if (target.hasEnded) return
        const ms = await fastest(target, hostile, other, request(path, name, valueOf(bytes), ++sent)) - plain
        if (ms > worst.ms) worst = { what: `${name} of ${pattern} for ${path}`, ms }
        if (ms > maxStallMs) target.fault(`headers: ${name} of ${pattern} for ${path} makes others wait ${Math.round(ms)} ms`)
      }
    }
    target.note(`headers: ${sent} of ${paths.length * names.length * Object.keys(patterns).length} values; the worst so far is ${worst.what}: ${worst.ms.toFixed(1)} ms`)
  }
  hostile.close()
  other.close()
}

function request (path: string, name: string, value: string, client: number): string {
  const address = name === 'X-Forwarded-For' ? '' : `X-Forwarded-For: 10.200.${client >> 8 & 255}.${client & 255}\r\n`
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${address}${name}: ${value}\r\n\r\n`
}

/** The longest delay of the other client during one request; the minimum of several attempts, because the machine can be busy. */
async function fastest (target: Target, hostile: HttpClient, other: HttpClient, bytes: string): Promise<number> {
  let best = Infinity
  for (let tried = 0; tried < tries && best > maxStallMs / 2; tried++) {
    const progress = { isSettled: false }
    const exchange = hostile.exchange(bytes).finally(() => { progress.isSettled = true })
    let longest = 0
    do longest = Math.max(longest, (await other.exchange('GET /healthz/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')).ms)
    while (!progress.isSettled)
    const { status } = await exchange
    target.count(status)
    if (status >= 500 && status !== 503) target.fault(`headers: ${status} to ${bytes.slice(0, 120)}`)
    best = Math.min(best, longest)
  }
  return best
}
