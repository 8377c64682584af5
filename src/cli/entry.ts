import type { EntryInspection } from '../cache/storage/inspect-entry.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'
import { bytesText, durationText, table } from './output.ts'

const says = {
  uncached: 'No route that answers this URL keeps its answers.',
  apart: 'Each client has its own responses there; they are not shown.',
  nothing: 'Nothing is stored for it: never asked for, purged, or its time is over.',
  unavailable: 'The service did not reach its Redis.'
} as const

/** Shows what a running service has stored for a URL. */
export const entry: Command = {
  usage: 'entry <url>',
  summary: 'shows what a running service has stored for a URL: age, tags, fields, size',
  help: ['The URL is the service\'s own, whole: https://example.com/cities/2988507. ADMIN_TOKEN lets you in.', 'Never the body, and no field that lets anybody in.'],
  run: async ({ words: [text = ''], environment, output }) => {
    const url = URL.parse(text)
    if (url === null || !/^https?:$/.test(url.protocol)) throw new UsageError('entry needs a whole URL: fastify-prism entry https://example.com/cities/2988507')
    const answer = await fetch(new URL('/ops/entry', url), { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${environment.ADMIN_TOKEN ?? ''}` }, body: JSON.stringify({ url: text }) }).catch(() => undefined)
    if (answer === undefined) throw new Error(`${url.host} is not reached.`)
    if (!answer.ok) throw new Error(reasonOf(answer.status, url.host))
    const view = await answer.json() as EntryInspection
    output.tell(view, linesOf(view))
    return view.found === 'unavailable' ? 1 : 0
  }
}

function reasonOf (status: number, host: string): string {
  if (status === 401) return 'That is not the token: set ADMIN_TOKEN to the service\'s.'
  return status === 404 ? `${host} has no operator's routes: it is another service, or ADMIN_TOKEN is unset there.` : `${host} answered ${status}.`
}

function linesOf (view: EntryInspection): string[] {
  if (!('fields' in view)) return [says[view.found]]
  const { found, route, status, ageSeconds, freshSeconds, tags, fields, bodyBytes, coding } = view
  const life = freshSeconds > 0 ? `fresh for another ${durationText(freshSeconds * 1000)}` : `stale since ${durationText(-freshSeconds * 1000)}`
  return [`${status}, ${found}: made ${durationText(ageSeconds * 1000)} ago, ${life}; route ${route}`, `${bytesText(bodyBytes)} ${coding}; tags ${tags.join(', ') || 'none'}`, '', ...table(['field', 'value'], fields)]
}
