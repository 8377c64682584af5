import type { FastifyInstance, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface SessionData {
    /** GeoNames IDs of the user's places, the newest last. */
    places: number[]
  }
}

const mostPlaces = 100
const cityId = { type: 'integer', minimum: 1, maximum: 2 ** 31 - 1, description: 'GeoNames id' }
const params = { type: 'object', properties: { cityId }, required: ['cityId'], additionalProperties: false }
const place = { type: 'object', properties: { id: cityId, name: { type: 'string' }, country: { type: 'string' }, lat: { type: 'number' }, lon: { type: 'number' } } }
const listed = { 200: { type: 'object', properties: { places: { type: 'array', items: place } } } }

/** A user's places, stored in the session and not in the database. */
export default async function places (app: FastifyInstance): Promise<void> {
  app.get('', {
    config: { cache: { ttl: '5m', partition: 'session' } },
    schema: { summary: 'Your places', tags: ['people'], response: listed }
  }, async (request, reply) => {
    reply.tag(tagOf(request))
    return { places: read(request).flatMap((id) => app.atlas.cities.known(id) ?? []) }
  })

  app.put<{ Params: { cityId: number } }>('/:cityId', {
    config: { rateLimit: { quota: 30, group: 'writes' } },
    schema: { summary: 'Keep a place', tags: ['people'], params, response: { 204: { type: 'null' } } }
  }, async (request, reply) => {
    const { id } = app.atlas.cities.find(request.params.cityId)
    await keep(request, (places) => [...places.filter((place) => place !== id), id].slice(-mostPlaces))
    return reply.code(204).send()
  })

  app.delete<{ Params: { cityId: number } }>('/:cityId', {
    config: { rateLimit: { quota: 30, group: 'writes' } },
    schema: { summary: 'Let a place go', tags: ['people'], params, response: { 204: { type: 'null' } } }
  }, async (request, reply) => {
    const { cityId } = request.params
    await keep(request, (places) => places.filter((place) => place !== cityId))
    return reply.code(204).send()
  })

  // Save before the purge: otherwise the old list could be stored again.
  async function keep (request: FastifyRequest, change: (places: number[]) => number[]): Promise<void> {
    request.session.update('places', (places = []) => change(places))
    await request.session.save()
    await app.cache.purge(tagOf(request))
  }
}

function read (request: FastifyRequest): readonly number[] {
  return request.session.get('places') ?? []
}

function tagOf (request: FastifyRequest): string {
  return `session:${request.session.id}:places`
}
