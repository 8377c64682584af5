/** What the programs of a user print, on each Node, Fastify and Redis. */
export const expected: Readonly<Record<string, unknown>> = {
  'stack.ts': {
    bodies: [{ id: '1', loads: 1 }, { id: '1', loads: 1 }, { id: '1', loads: 2 }],
    status: true,
    cart: { cart: ['tea', 'milk'], left: 95 },
    refused: 429,
    code: 'PRISM_ERR_QUOTA_EXCEEDED',
    heard: [1],
    hasInfo: true
  },
  'guest.ts': {
    isCached: true,
    required: [401, { mine: 'PRISM_ERR_SESSION_REQUIRED' }],
    missing: [404, { mine: 'nothing' }],
    jar: ['a=b; SameSite=Lax', { cookies: { x: 'y' } }],
    isSame: true
  },
  'session.ts': { who: { name: 'ada' }, devices: 1, others: [] },
  'cache-and-limit.ts': { statuses: [200, 200, 429], isCached: true },
  'events.ts': { text: 'hello' },
  'operations.ts': {
    before: { found: 'nothing', route: '/kept/:id' },
    stored: [200, '/kept/:id', ['all']],
    first: 200,
    described: { rateLimit: [{ name: 'default', quota: 1000, unit: 'requests', windowMs: 60_000, failureMode: 'local' }], session: { use: 'optional' }, cache: { ttlMs: 60_000, tags: ['all'], partition: null } },
    counts: true,
    client: [200, true],
    elsewhere: [404, 404, 404, 404]
  },
  'entry-points.ts': { plugins: 8, functions: 18, code: 'PRISM_ERR_ORIGIN' },
  'required.cjs': 'function',
  'upgrades.ts': { accepted: [101], refused: { statuses: [401], isEnded: true }, pipelined: [true, true, true, true], connections: 0 }
}
