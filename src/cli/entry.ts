import type { EntryInspection } from '../cache/storage/inspect-entry.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'
import { bytesText, durationText, table } from './output.ts'

const says = {
  uncached: 'No route that serves this URL stores its responses.',
  apart: 'Responses of this URL are stored for each client separately, and are not shown.',
  nothing: 'Nothing is stored for this URL: it was never requested, or was purged, or has expired.',
  unavailable: 'The service cannot reach its Redis.'
} as const

const deadlineMs = 10_000

/** Shows what a running service has stored for a URL. */
export const entry: Command = {
  usage: 'entry <url>…',
  summary: 'shows what a running service has stored for a URL: age, tags, headers, size',
  help: ['Complete URLs of the service: https://example.com/cities/2988507. ADMIN_TOKEN must have the value that the service has.', 'The command queries the service, not Redis, and never shows a body or a header with a credential.'],
  examples: ['entry https://example.com/cities/2988507'],
  run: async ({ words, environment, output, program }) => {
    const urls = words.map((text) => URL.parse(text))
    if (words.length === 0 || !urls.every(isHttp)) throw new UsageError(`entry needs a complete URL: ${program} entry https://example.com/cities/2988507`)
    let isWell = true
    for (const [index, url] of urls.entries()) {
      output.progress(`${index} of ${urls.length} URLs`)
      const view = await inspect(url, words[index] ?? '', environment.ADMIN_TOKEN)
      output.progress('')
      output.tell(view, [...urls.length > 1 ? [`${url.href}:`] : [], ...linesOf(view), ...index < urls.length - 1 ? [''] : []])
      if (view.found === 'unavailable') isWell = false
    }
    return isWell ? 0 : 1
  }
}

function isHttp (url: URL | null): url is URL {
  return url !== null && /^https?:$/.test(url.protocol)
}

/** @throws {Error} that says why the service does not tell */
async function inspect (url: URL, text: string, token = ''): Promise<EntryInspection> {
  const response = await fetch(new URL('/ops/entry', url), { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` }, body: JSON.stringify({ url: text }), signal: AbortSignal.timeout(deadlineMs) })
    .catch((error: Error) => { throw new Error(error.name === 'TimeoutError' ? `${url.host} does not respond within ${deadlineMs / 1000} s.` : `${url.host} cannot be reached.`) })
  if (!response.ok) throw new Error(reasonOf(response.status, url.host))
  return await response.json() as EntryInspection
}

function reasonOf (status: number, host: string): string {
  if (status === 401) return 'The token is wrong: set ADMIN_TOKEN to the value that the service has.'
  return status === 404 ? `${host} has no admin routes: it is another service, or ADMIN_TOKEN is unset there.` : `${host} responded with ${status}.`
}

function linesOf (view: EntryInspection): string[] {
  if (!('fields' in view)) return [says[view.found]]
  const { found, route, status, ageSeconds, freshSeconds, tags, fields, bodyBytes, coding } = view
  const life = freshSeconds > 0 ? `fresh for another ${durationText(freshSeconds * 1000)}` : `stale since ${durationText(-freshSeconds * 1000)}`
  return [`${status}, ${found}: stored ${durationText(ageSeconds * 1000)} ago, ${life}; route ${route}`, `${bytesText(bodyBytes)} ${coding}; tags ${tags.join(', ') || 'none'}`, '', ...table(['header', 'value'], fields)]
}
