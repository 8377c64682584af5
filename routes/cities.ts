import type { FastifyInstance } from 'fastify'
import type { CitySearch } from '../service/atlas/cities.ts'

const id = { type: 'integer', minimum: 1, maximum: 2 ** 31 - 1, description: 'GeoNames id: 2988507 is Paris' }
const params = { type: 'object', properties: { id }, required: ['id'], additionalProperties: false }

const city = {
  id,
  name: { type: 'string' },
  country: { type: 'string', description: 'ISO 3166-1 alpha-2' },
  admin: { type: 'string', description: 'First-level division, GeoNames code' },
  feature: { type: 'string', description: 'GeoNames feature code: PPLC is a capital' },
  population: { type: 'integer' },
  lat: { type: 'number' },
  lon: { type: 'number' }
}

const note = {
  type: 'object',
  properties: {
    author: { type: 'string' },
    text: { type: 'string' },
    updatedAt: { type: 'string', description: 'RFC 3339' }
  }
}

const search = {
  type: 'object',
  additionalProperties: false,
  properties: {
    q: { type: 'string', minLength: 1, maxLength: 100, description: 'Words of the name, or their beginnings; accents do not matter' },
    country: { type: 'string', pattern: '^[A-Za-z]{2}$', description: 'ISO 3166-1 alpha-2' },
    near: { type: 'string', maxLength: 50, description: 'latitude,longitude in degrees: the nearest first' },
    limit: { type: 'integer', minimum: 1, maximum: 100, default: 20 }
  }
}

/** Search and read cities, and write notes about them. */
export default async function cities (app: FastifyInstance): Promise<void> {
  // A search takes up to a tenth of a second of thread time; other routes take microseconds.
  app.get<{ Querystring: CitySearch }>('', {
    config: { rateLimit: { cost: 5 } },
    schema: {
      summary: 'Cities by name, country and place, the nearest or the largest first: ?q= &country= &near=lat,lon &limit=',
      tags: ['atlas'],
      querystring: search,
      response: {
        200: {
          type: 'object',
          properties: { cities: { type: 'array', items: { type: 'object', properties: { ...city, distanceKm: { type: 'number' } } } } }
        }
      }
    }
  }, async (request) => ({ cities: await app.atlas.searches.find(request.query) }))

  app.get('/random', {
    config: { cache: false, session: false, rateLimit: { quota: 10, window: '10s', group: 'random' } },
    schema: { summary: 'One of the thousand largest cities, another one each time', tags: ['atlas'], response: { 200: { type: 'object', properties: city } } }
  }, async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    return app.atlas.cities.random()
  })

  app.get<{ Params: { id: number } }>('/:id', {
    config: { cache: { ttl: '60m', tags: (request) => [`city:${request.params.id}`] } },
    schema: {
      summary: 'A city with its notes',
      tags: ['atlas'],
      params,
      response: { 200: { type: 'object', properties: { ...city, notes: { type: 'array', items: note } } } }
    }
  }, async (request) => {
    const { id } = request.params
    return { ...app.atlas.cities.find(id), notes: app.atlas.notes.of(id) }
  })

  app.put<{ Params: { id: number }, Body: { text: string } }>('/:id/notes', {
    config: { cache: false, session: 'required', rateLimit: { quota: 30, group: 'writes' } },
    schema: {
      summary: 'Leave a note about a city, or replace your own',
      tags: ['atlas'],
      params,
      body: {
        type: 'object',
        additionalProperties: false,
        properties: { text: { type: 'string', minLength: 1, maxLength: 2000 } },
        required: ['text']
      },
      response: { 200: note }
    }
  }, async (request) => {
    const city = app.atlas.cities.find(request.params.id)
    const user = app.atlas.users.of(request.session)
    const note = app.atlas.notes.write(city.id, user, request.body.text)

    await app.cache.purge(`city:${city.id}`)   // throws during an outage: the client retries, instead of an hour of stale reads
    await announce(city, note)
    return note
  })

  // The note is written and its city purged: an unavailable event bus must not make the write fail.
  async function announce (city: { id: number, name: string }, note: { author: string, text: string }): Promise<void> {
    const data = { city: city.id, name: city.name, author: note.author, text: note.text }
    await app.events.publish('events', { type: 'city.noted', data })
      .catch((error) => app.log.warn({ err: error }, 'city.noted was not published'))
  }
}
