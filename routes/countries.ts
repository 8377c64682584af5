import type { FastifyInstance } from 'fastify'

const code = { type: 'string', pattern: '^[A-Za-z]{2}$', description: 'ISO 3166-1 alpha-2' }
const named = { id: { type: 'integer' }, name: { type: 'string' } }
const counted = { cities: { type: 'integer' }, population: { type: 'integer' } }

const country = {
  type: 'object',
  properties: {
    code,
    name: { type: 'string' },
    ...counted,
    medianPopulation: { type: 'integer' },
    capital: { anyOf: [{ type: 'null' }, { type: 'object', properties: named }] },
    largest: { type: 'array', items: { type: 'object', properties: { ...named, population: { type: 'integer' } } } },
    divisions: { type: 'array', items: { type: 'object', properties: { code: { type: 'string' }, ...counted } } },
    bounds: {
      type: 'object',
      description: 'Degrees; west is greater than east where the country crosses the antimeridian',
      properties: { south: { type: 'number' }, north: { type: 'number' }, west: { type: 'number' }, east: { type: 'number' } }
    }
  }
}

/** Countries, each summarised from all of its cities. This is expensive: stored for an hour, and served stale while it is refreshed. */
export default async function countries (app: FastifyInstance): Promise<void> {
  app.get<{ Params: { code: string } }>('/:code', {
    schema: {
      summary: 'A country summarised from its cities',
      tags: ['atlas'],
      params: { type: 'object', properties: { code }, required: ['code'], additionalProperties: false },
      response: { 200: country }
    }
  }, async (request) => app.atlas.countries.find(request.params.code))
}
