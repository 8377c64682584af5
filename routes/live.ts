import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'

const template = readFileSync(new URL('./live.html', import.meta.url), 'utf8')

const id = { type: 'integer', minimum: 1, maximum: 2 ** 31 - 1, description: 'GeoNames id: 2988507 is Paris' }

/** Only the page's own inline script and style and the client script run on the page. */
const policy = [
  "default-src 'none'",
  `script-src 'self' '${hashOf('script')}'`,
  `style-src '${hashOf('style')}'`,
  "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
].join('; ')

/** Shows a city's notes as they are written. */
export default async function live (app: FastifyInstance): Promise<void> {
  app.get<{ Params: { id: number } }>('/:id/live', {
    config: { cache: false },
    schema: {
      summary: 'A page that shows notes about a city as they are written',
      tags: ['atlas'],
      produces: ['text/html'],
      params: { type: 'object', properties: { id }, required: ['id'], additionalProperties: false }
    }
  }, async (request, reply) => {
    const city = app.atlas.cities.find(request.params.id)
    const user = request.session.userId === undefined ? '' : app.atlas.users.of(request.session).name
    const facts = `${city.country}, ${city.population.toLocaleString('en')} people`
    return reply
      .type('text/html; charset=utf-8')
      .headers({ 'cache-control': 'no-store', 'content-security-policy': policy, 'x-content-type-options': 'nosniff', 'referrer-policy': 'same-origin' })
      .send(filled({ id: String(city.id), name: city.name, facts, user }))
  })
}

function filled (values: Readonly<Record<string, string>>): string {
  return template.replace(/\{\{(\w+)\}\}/g, (_place, name: string) => escaped(values[name] ?? ''))
}

function escaped (text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** @returns the Content-Security-Policy source of the page's inline element */
function hashOf (element: string): string {
  const [, text = ''] = new RegExp(`<${element}[^>]*>([^]*?)</${element}>`).exec(template) ?? []
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
