/** JSON Schemas of the atlas's event data, by type. */
export const eventSchemas = {
  'city.noted': {
    type: 'object',
    additionalProperties: false,
    required: ['city', 'name', 'author', 'text'],
    properties: {
      city: { type: 'integer', description: 'GeoNames id' },
      name: { type: 'string', description: 'of the city' },
      author: { type: 'string' },
      text: { type: 'string' }
    }
  }
} as const
