import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { readConfig, type Fault } from '../../service/config.ts'
import { ConfigError } from '../../service/errors.ts'

const secret = 's'.repeat(32)

/** The errors of an environment, or an empty list. */
function faultsOf (environment: Record<string, string>): readonly Fault[] {
  try {
    readConfig(environment)
    return []
  } catch (error) {
    if (error instanceof ConfigError && 'faults' in error) return error.faults as readonly Fault[]
    throw error
  }
}

t.test('every variable has a default outside production', async (t) => {
  const config = readConfig({})

  t.match(config, {
    production: false,
    port: 3000,
    host: '::',
    redisUrl: undefined,
    trustedProxies: { kind: 'none' },
    logLevel: 'info',
    adminToken: undefined,
    origins: [],
    databasePath: '.data/atlas.db'
  })
  t.ok(Object.isFrozen(config))
})

t.test('a development start generates a random secret, and warns', async (t) => {
  const first = readConfig({})
  const second = readConfig({})

  t.not(first.sessionSecrets[0], second.sessionSecrets[0])
  t.ok((first.sessionSecrets[0] ?? '').length >= 32)
  t.match(first.warnings, [/SESSION_SECRET is unset/])
  t.same(readConfig({ SESSION_SECRET: secret }).warnings, [])
})

t.test('each variable is read as documented', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'prism-config-')), 'not', 'there', 'yet.db')

  const config = readConfig({
    NODE_ENV: 'production',
    PORT: '8080',
    HOST: '127.0.0.1',
    REDIS_URL: 'redis://user:pass@redis.railway.internal:6379/2',
    SESSION_REDIS_URL: 'redis://sessions.railway.internal:6379',
    SESSION_SECRET: `${'n'.repeat(32)}, ${'o'.repeat(40)}`,
    TRUST_PROXY: '10.0.0.0/8, fd12::/16,192.0.2.7',
    LOG_LEVEL: 'debug',
    RAILWAY_GIT_COMMIT_SHA: '0123456789ABCDEF0123456789abcdef01234567',
    ADMIN_TOKEN: 'operator-token',
    ORIGINS: 'https://example.com,http://localhost:3000',
    DATABASE_PATH: path,
    METRICS_PORT: '9100',
    ALERT_WEBHOOK_URL: 'https://hooks.example/prism',
    ALERT_WEBHOOK_SECRET: 'w'.repeat(32),
    ALERT_WEBHOOK_FORMAT: 'PagerDuty',
    ALERT_PAGERDUTY_KEY: 'k'.repeat(32),
    READY_REQUIRES_REDIS: 'true',
    REDIS_MEMORY_LIMIT: '256mb',
    REDIS_COMMAND_TIMEOUT: '500ms',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector.railway.internal:4318'
  })

  t.strictSame(config, {
    production: true,
    port: 8080,
    host: '127.0.0.1',
    redisUrl: 'redis://user:pass@redis.railway.internal:6379/2',
    sessionRedisUrl: 'redis://sessions.railway.internal:6379',
    sessionSecrets: ['n'.repeat(32), 'o'.repeat(40)],
    trustedProxies: { kind: 'networks', networks: ['10.0.0.0/8', 'fd12::/16', '192.0.2.7'] },
    build: { version: '0.1.0', commit: '0123456789ab' },
    logLevel: 'debug',
    adminToken: 'operator-token',
    metricsPort: 9100,
    alertWebhookUrl: 'https://hooks.example/prism',
    alertWebhookSecret: 'w'.repeat(32),
    alertWebhookFormat: 'pagerduty',
    alertPagerDutyKey: 'k'.repeat(32),
    readyRequiresRedis: true,
    redisMemoryBytes: 268_435_456,
    redisCommandTimeoutMs: 500,
    tracesUrl: 'http://collector.railway.internal:4318',
    origins: ['https://example.com', 'http://localhost:3000'],
    databasePath: path,
    redisTls: undefined,
    warnings: []
  })
})

t.test('each alert format requires its variables, and PagerDuty has a default address', async (t) => {
  t.match(faultsOf({ ALERT_WEBHOOK_FORMAT: 'teams' }), [{ variable: 'ALERT_WEBHOOK_FORMAT', wanted: /slack, discord, pagerduty, alertmanager/ }])
  t.match(faultsOf({ ALERT_WEBHOOK_FORMAT: 'pagerduty' }), [{ variable: 'ALERT_PAGERDUTY_KEY' }])
  t.match(faultsOf({ ALERT_WEBHOOK_FORMAT: 'slack' }), [{ variable: 'ALERT_WEBHOOK_URL' }])
  t.match(faultsOf({ READY_REQUIRES_REDIS: 'yes' }), [{ variable: 'READY_REQUIRES_REDIS', wanted: "'true' or 'false'" }])
  t.equal(readConfig({ ALERT_WEBHOOK_FORMAT: 'pagerduty', ALERT_PAGERDUTY_KEY: 'key' }).alertWebhookUrl, 'https://events.pagerduty.com/v2/enqueue')
})

t.test('the port of the metrics is another than that of the service', async (t) => {
  t.match(faultsOf({ METRICS_PORT: '3000' }), [{ variable: 'METRICS_PORT', wanted: 'another port than PORT', came: 'also 3000' }])
  t.match(faultsOf({ PORT: '9100', METRICS_PORT: '9100' }), [{ variable: 'METRICS_PORT' }])
  t.match(faultsOf({ PORT: 'web', METRICS_PORT: '3000' }), [{ variable: 'PORT' }], 'a PORT that is wrong itself is not compared')
  t.equal(faultsOf({ PORT: 'web', METRICS_PORT: '3000' }).length, 1)
  t.match(readConfig({ PORT: '0', METRICS_PORT: '0' }), { port: 0, metricsPort: 0 })
})

t.test('TLS variables for Redis are PEM texts or files', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prism-config-'))
  const path = join(folder, 'ca.pem')
  writeFileSync(path, '-----BEGIN CERTIFICATE-----\nca\n')
  const REDIS_URL = 'rediss://redis.example'

  const { redisTls } = readConfig({ REDIS_URL, REDIS_TLS_CA: path, REDIS_TLS_CERT: '-----BEGIN CERTIFICATE-----\\ncert\\n', REDIS_TLS_KEY: '-----BEGIN PRIVATE KEY-----\nkey' })

  t.same(redisTls, { ca: '-----BEGIN CERTIFICATE-----\nca\n', cert: '-----BEGIN CERTIFICATE-----\ncert\n', key: '-----BEGIN PRIVATE KEY-----\nkey' })
  t.equal(readConfig({ REDIS_URL }).redisTls, undefined)
  t.throws(() => readConfig({ REDIS_URL, REDIS_TLS_CERT: path }), /REDIS_TLS_KEY must be set/)
  t.throws(() => readConfig({ REDIS_URL, REDIS_TLS_KEY: path }), /REDIS_TLS_CERT must be set/)
  t.throws(() => readConfig({ REDIS_URL: 'redis://redis.example', REDIS_TLS_CA: path }), /REDIS_URL must be an address with rediss/)
  t.throws(() => readConfig({ REDIS_URL, REDIS_TLS_CA: 'MIIsecret' }), /REDIS_TLS_CA must be PEM, or the path of a readable file with it; it is neither \(not shown\)/)
})

t.test('an empty variable counts as unset', async (t) => {
  const names = ['NODE_ENV', 'PORT', 'HOST', 'REDIS_URL', 'SESSION_REDIS_URL', 'REDIS_TLS_CA', 'REDIS_TLS_CERT', 'REDIS_TLS_KEY', 'SESSION_SECRET', 'TRUST_PROXY', 'LOG_LEVEL', 'ADMIN_TOKEN', 'ORIGINS', 'DATABASE_PATH', 'METRICS_PORT', 'ALERT_WEBHOOK_URL', 'ALERT_WEBHOOK_SECRET']

  const { sessionSecrets: _random, ...config } = readConfig(Object.fromEntries(names.map((name) => [name, ' '])))

  const { sessionSecrets: _other, ...unset } = readConfig({})
  t.same(config, unset)
})

const addresses = [
  'redis://localhost', 'redis://:p%40ss@[::1]:6379', 'rediss://user:pass@redis.example:6380/15', 'unix:///run/redis.sock',
  'redis://10.0.0.1:7000,redis://10.0.0.2:7000', 'redis+sentinel://:p@10.0.0.1,10.0.0.2:26380/main', 'redis://default:p@a:1, redis://default:p@b:2'
]

t.test('each kind of Redis address is accepted', async (t) => {
  for (const REDIS_URL of addresses) t.equal(readConfig({ REDIS_URL }).redisUrl, REDIS_URL)
})

const wrong: ReadonlyArray<[variable: string, value: string, wanted: RegExp]> = [
  ['NODE_ENV', 'prod', /'production'/],
  ['PORT', 'abc', /whole number from 0 to 65535/],
  ['PORT', '65536', /whole number/],
  ['PORT', '-1', /whole number/],
  ['PORT', '80.5', /whole number/],
  ['HOST', 'http://localhost', /IP address or a host name/],
  ['HOST', '[::]', /without port, brackets/],
  ['HOST', 'a b', /host name/],
  ['TRUST_PROXY', 'true', /forge its address/],
  ['TRUST_PROXY', '1', /number of hops/],
  ['TRUST_PROXY', '0.0.0.0/0', /\/0 trusts every peer/],
  ['TRUST_PROXY', '10.0.0.0/8,::/0', /\/0 trusts every peer/],
  ['TRUST_PROXY', '10.0.0.0/33', /networks such as/],
  ['TRUST_PROXY', 'loopback', /networks such as/],
  ['TRUST_PROXY', '10.0.0.0/8,', /networks such as/],
  ['LOG_LEVEL', 'loud', /one of trace, debug, info, warn, error, fatal, silent/],
  ['ADMIN_TOKEN', 'two words', /without spaces/],
  ['ADMIN_TOKEN', 'schlüssel', /printable ASCII/],
  ['ORIGINS', '*', /exact origins/],
  ['ORIGINS', 'null', /exact origins/],
  ['ORIGINS', 'https://example.com/', /without a path/],
  ['ORIGINS', 'example.com', /exact origins/],
  ['ORIGINS', 'https://example.com:443', /exact origins/],
  ['ORIGINS', 'https://example.com,,', /exact origins/],
  ['DATABASE_PATH', tmpdir(), /path of a file/],
  ['DATABASE_PATH', '/tmp/folder/', /path of a file/],
  ['DATABASE_PATH', '/dev/null/atlas.db', /can write/],
  ['SESSION_SECRET', 'short', /at least 32 characters/],
  ['SESSION_SECRET', `${secret},`, /at least 32 characters/],
  ['SESSION_SECRET', `${secret},${secret}`, /newest first/],
  ['REDIS_URL', 'localhost:6379', /redis:\/\/host:port/],
  ['REDIS_URL', 'http://localhost', /rediss:\/\//],
  ['REDIS_URL', 'redis://', /redis:\/\/host:port/],
  ['REDIS_URL', 'redis://host:99999', /redis:\/\/host:port/],
  ['REDIS_URL', 'redis://host/main', /redis:\/\/host:port/],
  ['REDIS_URL', 'unix://', /unix:\/\/\/path/],
  ['REDIS_URL', 'redis://a,unix:///b', /for a Cluster/],
  ['REDIS_URL', 'redis://a/1,redis://b/1', /for a Cluster/],
  ['SESSION_REDIS_URL', 'localhost:6379', /redis:\/\/host:port/],
  ['REDIS_URL', 'redis://a,', /for a Cluster/]
]

for (const [variable, value, wanted] of wrong) {
  t.test(`${variable}=${value.slice(0, 24)} is rejected with the accepted values`, async (t) => {
    const faults = faultsOf({ [variable]: value })

    t.equal(faults.length, 1)
    t.equal(faults[0]?.variable, variable)
    t.match(faults[0]?.wanted, wanted)
    t.ok(faults[0]?.came, 'names the value')
  })
}

t.test('production requires REDIS_URL and SESSION_SECRET', async (t) => {
  const faults = faultsOf({ NODE_ENV: 'production' })

  t.same(faults.map(({ variable, came }) => [variable, came]), [['REDIS_URL', 'unset'], ['SESSION_SECRET', 'unset']])
})

t.test('all errors are reported at once', async (t) => {
  const faults = faultsOf({ NODE_ENV: 'production', PORT: 'x', HOST: '/', TRUST_PROXY: 'true', LOG_LEVEL: 'x', ADMIN_TOKEN: 'a b', ORIGINS: 'x', DATABASE_PATH: '/', SESSION_SECRET: 'x', REDIS_URL: 'x' })

  t.same(faults.map(({ variable }) => variable).sort(), ['ADMIN_TOKEN', 'DATABASE_PATH', 'HOST', 'LOG_LEVEL', 'ORIGINS', 'PORT', 'REDIS_URL', 'SESSION_SECRET', 'TRUST_PROXY'])
})

t.test('the message names the variable, the accepted values and the given value', async (t) => {
  t.throws(() => readConfig({ PORT: '80000' }), { code: 'PRISM_ERR_CONFIG', message: 'Invalid environment:\n  PORT must be a whole number from 0 to 65535; it is "80000".' })
  t.throws(() => readConfig({ LOG_LEVEL: 'loud' }), /LOG_LEVEL must be one of trace, .*; it is "loud"/)
})

t.test('a secret is never printed, however wrong the variable is', async (t) => {
  const hidden = 'hunter2hunter2'
  const environments: Array<Record<string, string>> = [
    { SESSION_SECRET: hidden }, { SESSION_SECRET: `${secret},${hidden}` }, { ADMIN_TOKEN: `${hidden} ${hidden}` },
    { ORIGINS: `https://me:${hidden}@example.com` }, { ORIGINS: hidden }, { PORT: hidden }, { HOST: `me:${hidden}@host` }, { LOG_LEVEL: `${hidden} ${hidden}` }, { TRUST_PROXY: `10.0.0.0/8,${hidden}` }, { NODE_ENV: `${hidden}1` }, { DATABASE_PATH: `postgres://me:${hidden}@host/` }, { REDIS_MEMORY_LIMIT: hidden }, { METRICS_PORT: hidden },
    { REDIS_URL: hidden }, { REDIS_URL: `user:${hidden}@host` }, { REDIS_URL: `http://u:${hidden}@h` }, { REDIS_URL: `redis://u:${hidden}@h:99999` },
    { REDIS_URL: `redis://u:${hidden}%zz@h` }, { REDIS_URL: `redis://u:a#${hidden}@h` }, { REDIS_URL: `redis://u:a/${hidden}@h` }, { REDIS_URL: `redis://u:${hidden}@h/x` },
    { REDIS_URL: `redis://u:a,${hidden}@h` }, { REDIS_URL: `redis://u:12/${hidden}@h` }
  ]

  for (const environment of environments) {
    const faults = faultsOf(environment)
    t.equal(faults.length, 1, JSON.stringify(environment))
    t.notMatch(JSON.stringify(faults), hidden)
  }
})

t.test('an invalid webhook URL is rejected without printing address or secret, and one without a signature is warned about', async (t) => {
  const faults = faultsOf({ ALERT_WEBHOOK_URL: 'ftp://user:hidden@example', ALERT_WEBHOOK_SECRET: 'hidden too' })
  const { warnings } = readConfig({ SESSION_SECRET: secret, ALERT_WEBHOOK_URL: 'https://hooks.example/prism' })

  t.same(faults.map(({ variable }) => variable), ['ALERT_WEBHOOK_URL', 'ALERT_WEBHOOK_SECRET'])
  t.notMatch(JSON.stringify(faults), 'hidden')
  t.match(warnings, [/ALERT_WEBHOOK_SECRET/])
})
