import Fastify from 'fastify'

// An app that imports the package after it was created: its first routes are invisible to the package. Prints a status for each route.

const app = Fastify()
const named: Record<string, object> = { '/required': { session: 'required' }, '/misspelt': { Sessions: 'required' }, '/cached': { cache: true }, '/off': { session: false }, '/plain': {} }
for (const [url, config] of Object.entries(named)) app.get(url, { config }, async () => 'open')
await app.register(async (scope) => { scope.get('/required', { config: { session: 'required' } }, async () => 'open') }, { prefix: '/scope' })
const { default: prism } = await import('../../plugins/index.ts')
await app.register(prism, { redis: { url: process.argv[2] ?? '' }, session: { secrets: ['a secret of the tests: 32 or more'] } })
app.get('/late', { config: { session: 'required' } }, async () => 'open')
await app.ready()
const statuses: Record<string, number> = {}
for (const url of [...Object.keys(named), '/scope/required', '/late', '/nowhere']) statuses[url] = (await app.inject(url)).statusCode
console.log(JSON.stringify(statuses))
await app.close()
