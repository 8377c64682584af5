import { randomBytes } from 'node:crypto'
import { accessSync, constants, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { alertFormats, pagerDutyUrl } from './alerts/formats.ts'
import type { AlertFormat } from './alerts/formats.ts'
import type { Build } from '../plugins/metrics.ts'
import { addressFault, pemOf, readRedisTls } from '../plugins/redis.ts'
import type { RedisTls } from '../plugins/redis.ts'
import { isNetwork } from '../plugins/standalone/rate-limit.ts'
import type { TrustedProxies } from '../plugins/standalone/rate-limit.ts'
import { isExactOrigin } from '../plugins/standalone/session.ts'
import { readBuild } from './build.ts'
import { ConfigError } from './errors.ts'

/** Log levels of pino, most verbose first. */
const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

/** The service's configuration from its environment: complete, validated and frozen. */
export interface Config {
  readonly production: boolean
  readonly port: number
  readonly host: string
  /** an address that `readAddress` accepts; undefined: start an embedded server */
  readonly redisUrl: string | undefined
  /** separate Redis of the sessions; undefined: the same */
  readonly sessionRedisUrl: string | undefined
  /** Redis timeout; undefined: the package's default */
  readonly redisCommandTimeoutMs: number | undefined
  /** memory limit of Redis in bytes, if the server has no `maxmemory`; undefined: unknown */
  readonly redisMemoryBytes: number | undefined
  /** TLS to Redis: authority, client certificate and key, all PEM; undefined: the system's authorities */
  readonly redisTls: RedisTls | undefined
  /** newest first: the first encrypts, all decrypt */
  readonly sessionSecrets: readonly string[]
  readonly trustedProxies: TrustedProxies
  readonly logLevel: typeof logLevels[number]
  readonly adminToken: string | undefined
  /** port for metrics without a token, for a private network */
  readonly metricsPort: number | undefined
  /** whether `/healthz/ready` returns 503 while Redis is unusable */
  readonly readyRequiresRedis: boolean
  readonly alertWebhookUrl: string | undefined
  readonly alertWebhookSecret: string | undefined
  /** message format of the webhook */
  readonly alertWebhookFormat: AlertFormat
  /** integration key of PagerDuty (Events API v2) */
  readonly alertPagerDutyKey: string | undefined
  /** OTLP/HTTP endpoint of traces; undefined: tracing is off. OpenTelemetry's own variables configure the rest. */
  readonly tracesUrl: string | undefined
  /** exact origins besides the request's own */
  readonly origins: readonly string[]
  readonly databasePath: string
  /** version and commit, for metrics and the dashboard */
  readonly build: Build
  /** notices for the operator that are not errors, one sentence each */
  readonly warnings: readonly string[]
}

/** One error of the environment; `came` never contains a secret. */
export interface Fault {
  readonly variable: string
  readonly wanted: string
  readonly came: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads one variable: returns the setting of a non-empty value, or rejects it. */
type Reader<Setting> = (value: string, refuse: Refuse) => Setting | undefined
type Refuse = (wanted: string, came?: string) => undefined

const secretLength = 32

/**
 * Reads the environment. An empty variable counts as unset.
 *
 * @throws {ConfigError} PRISM_ERR_CONFIG with all errors at once, in its message and as `faults`
 */
export function readConfig (environment: Environment): Config {
  const faults: Fault[] = []
  const warnings: string[] = []
  const read = <Setting>(variable: string, reader: Reader<Setting>, unset: Setting): Setting => {
    const value = environment[variable]?.trim()
    if (value === undefined || value === '') return unset
    return reader(value, (wanted, came = described(variable, value)) => { faults.push({ variable, wanted, came }) }) ?? unset
  }
  const needed = (variable: string, wanted: string) => faults.push({ variable, wanted, came: 'unset' })
  const isSet = (variable: string) => (environment[variable]?.trim() ?? '') !== ''

  const production = read('NODE_ENV', readEnvironmentName, 'development') === 'production'
  if (production && !isSet('REDIS_URL')) needed('REDIS_URL', 'set in production: the embedded server is for development')
  if (production && !isSet('SESSION_SECRET')) needed('SESSION_SECRET', `set in production: ${secretsWanted}`)
  if (isSet('REDIS_TLS_CERT') && !isSet('REDIS_TLS_KEY')) needed('REDIS_TLS_KEY', 'set, because REDIS_TLS_CERT requires it')
  if (isSet('REDIS_TLS_KEY') && !isSet('REDIS_TLS_CERT')) needed('REDIS_TLS_CERT', 'set, because REDIS_TLS_KEY requires it')
  if (['CA', 'CERT', 'KEY'].some((part) => isSet(`REDIS_TLS_${part}`)) && !/rediss/.test(`${environment.REDIS_URL} ${environment.SESSION_REDIS_URL}`)) faults.push({ variable: 'REDIS_URL', wanted: 'an address with rediss://, because REDIS_TLS_… is set', came: 'without TLS' })
  if (!production && !isSet('SESSION_SECRET')) warnings.push('SESSION_SECRET is unset: a random one is used, and every session ends with this process.')
  if (production && !isSet('TRUST_PROXY')) warnings.push('TRUST_PROXY is unset: behind a proxy all clients are counted as one, and TLS is not detected; session cookies are Secure anyway, so over plain http no session works.')
  const alertWebhookFormat = read('ALERT_WEBHOOK_FORMAT', readAlertFormat, 'json')
  if (alertWebhookFormat === 'pagerduty' && !isSet('ALERT_PAGERDUTY_KEY')) needed('ALERT_PAGERDUTY_KEY', 'set, because ALERT_WEBHOOK_FORMAT is pagerduty: the integration key of a service (Events API v2)')
  if (!['json', 'pagerduty'].includes(alertWebhookFormat) && !isSet('ALERT_WEBHOOK_URL')) needed('ALERT_WEBHOOK_URL', 'set, because ALERT_WEBHOOK_FORMAT is set')
  if (alertWebhookFormat === 'json' && isSet('ALERT_WEBHOOK_URL') && !isSet('ALERT_WEBHOOK_SECRET')) warnings.push('ALERT_WEBHOOK_SECRET is unset: alerts are sent without a signature and can be forged.')

  const readTls = () => {
    read('REDIS_TLS_CA', readPem, undefined)
    read('REDIS_TLS_CERT', readPem, undefined)
    read('REDIS_TLS_KEY', readPem, undefined)
    return readRedisTls(environment)
  }
  const config: Config = {
    production,
    port: read('PORT', readPort, 3000),
    host: read('HOST', readHost, '::'),
    redisUrl: read('REDIS_URL', readRedisUrl, undefined),
    sessionRedisUrl: read('SESSION_REDIS_URL', readRedisUrl, undefined),
    redisCommandTimeoutMs: read<number | undefined>('REDIS_COMMAND_TIMEOUT', readTimeout, undefined),
    redisMemoryBytes: read<number | undefined>('REDIS_MEMORY_LIMIT', readBytes, undefined),
    redisTls: readTls(),
    sessionSecrets: Object.freeze(read('SESSION_SECRET', readSecrets, [randomBytes(secretLength).toString('base64url')])),
    trustedProxies: Object.freeze(read('TRUST_PROXY', readTrustedProxies, { kind: 'none' })),
    logLevel: read('LOG_LEVEL', readLogLevel, 'info'),
    adminToken: read('ADMIN_TOKEN', readToken, undefined),
    metricsPort: read<number | undefined>('METRICS_PORT', readPort, undefined),
    readyRequiresRedis: read<boolean>('READY_REQUIRES_REDIS', readFlag, false),
    alertWebhookUrl: read('ALERT_WEBHOOK_URL', readHttpUrl, alertWebhookFormat === 'pagerduty' ? pagerDutyUrl : undefined),
    alertWebhookFormat,
    alertPagerDutyKey: read('ALERT_PAGERDUTY_KEY', readToken, undefined),
    alertWebhookSecret: read('ALERT_WEBHOOK_SECRET', readWebhookSecret, undefined),
    tracesUrl: read('OTEL_EXPORTER_OTLP_ENDPOINT', readHttpUrl, undefined),
    origins: Object.freeze(read('ORIGINS', readOrigins, [])),
    databasePath: read('DATABASE_PATH', readDatabasePath, '.data/atlas.db'),
    build: Object.freeze(readBuild(environment)),
    warnings: Object.freeze(warnings)
  }
  if (config.metricsPort === config.port && config.port !== 0 && faults.every(({ variable }) => variable !== 'PORT')) faults.push({ variable: 'METRICS_PORT', wanted: 'another port than PORT', came: `also ${config.port}` })
  if (faults.length > 0) throw configError(faults)
  return Object.freeze(config)
}

/** One error for all faults: readable in its message, as a list in `faults`. */
function configError (faults: readonly Fault[]): Error & { faults: readonly Fault[] } {
  const lines = faults.map(({ variable, wanted, came }) => `  ${variable} must be ${wanted}; it is ${came}.`)
  return Object.assign(new ConfigError(`\n${lines.join('\n')}`), { faults })
}

const readEnvironmentName: Reader<string> = (value, refuse) =>
  ['production', 'development', 'test'].includes(value) ? value : refuse("'production', 'development' or 'test'")

const readPort: Reader<number> = (value, refuse) =>
  /^\d{1,5}$/.test(value) && Number(value) <= 65_535 ? Number(value) : refuse('a whole number from 0 to 65535')

const readFlag: Reader<boolean> = (value, refuse) =>
  value === 'true' ? true : value === 'false' ? false : refuse("'true' or 'false'")

const readHost: Reader<string> = (value, refuse) =>
  isIP(value) !== 0 || /^(?!.*\.\.)[a-z\d](?:[a-z\d.-]{0,251}[a-z\d])?$/i.test(value) ? value : refuse('an IP address or a host name, without port, brackets or scheme')

const readRedisUrl: Reader<string> = (value, refuse) => {
  const fault = addressFault(value)
  return fault === undefined ? value : refuse(redisWanted, `${fault}; it is not shown, because it can contain a password`)
}

const units: Readonly<Record<string, number>> = { kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }

const readBytes: Reader<number> = (value, refuse) => {
  const [, digits, unit = ''] = /^([1-9]\d{0,9})(kb|mb|gb)$/i.exec(value) ?? []
  return digits === undefined ? refuse('a size such as 256mb, in kb, mb or gb') : Number(digits) * (units[unit.toLowerCase()] ?? 1)
}

const readTimeout: Reader<number> = (value, refuse) => {
  const [, amount, unit] = /^(\d{1,5})(ms|s)$/.exec(value) ?? []
  const ms = Number(amount) * (unit === 's' ? 1000 : 1)
  return ms >= 10 && ms <= 10_000 ? ms : refuse("a time of at least '10ms' and at most '10s', in ms or s")
}

const readPem: Reader<string> = (value, refuse) => pemOf(value) ?? refuse('PEM, or the path of a readable file with it', 'neither (not shown)')

const redisWanted = 'redis://host:port, rediss://host:port or unix:///path/to/socket; for a Cluster several of the first two, separated by commas; for Sentinels redis+sentinel://host:port,host:port/name; characters such as , @ : / # % in a password must be percent-encoded'

const secretsWanted = `one or more secrets of at least ${secretLength} characters, newest first, separated by commas`

const readSecrets: Reader<readonly string[]> = (value, refuse) => {
  const secrets = listOf(value)
  const short = secrets.findIndex((secret) => secret.length < secretLength)
  if (short >= 0) return refuse(secretsWanted, `a list of ${secrets.length}, whose item ${short + 1} has ${secrets[short]?.length ?? 0} characters`)
  return new Set(secrets).size === secrets.length ? secrets : refuse(secretsWanted, `a list of ${secrets.length}, two of which are equal`)
}

const readTrustedProxies: Reader<TrustedProxies> = (value, refuse) => {
  const wanted = "'railway', or networks such as 10.0.0.0/8, separated by commas"
  if (value === 'railway') return { kind: 'railway' }
  if (/^\d+$/.test(value)) return refuse(`${wanted}; a number of hops does not identify the nearest peer, so that any client could forge an address`)
  if (value === 'true') return refuse(`${wanted}; trusting every peer lets any client forge its address`)
  const networks = listOf(value)
  const wrong = networks.find((network) => !isNetwork(network))
  if (wrong === undefined) return { kind: 'networks', networks: Object.freeze(networks) }
  return refuse(wrong.endsWith('/0') ? `${wanted}; a /0 trusts every peer, and lets any client forge its address` : wanted, `a list whose item ${networks.indexOf(wrong) + 1} is neither`)
}

const readLogLevel: Reader<typeof logLevels[number]> = (value, refuse) =>
  logLevels.find((level) => level === value) ?? refuse(`one of ${logLevels.join(', ')}`)

const readToken: Reader<string> = (value, refuse) =>
  /^[\x21-\x7e]+$/.test(value) ? value : refuse('a bearer token of printable ASCII without spaces', `a text of ${value.length} characters, some of which are not allowed`)

/** The value can contain a secret: it is never printed. */
const readHttpUrl: Reader<string> = (value, refuse) =>
  /^https?:$/.test(URL.parse(value)?.protocol ?? '') ? value : refuse('an http:// or https:// address', 'a text of another form, which is not shown, because it can contain a secret')

const readAlertFormat: Reader<AlertFormat> = (value, refuse) =>
  alertFormats.find((format) => format === value.toLowerCase()) ?? refuse(`one of ${alertFormats.join(', ')}`)

const readWebhookSecret: Reader<string> = (value, refuse) =>
  value.length >= secretLength ? value : refuse(`a secret of at least ${secretLength} characters`, `a text of ${value.length} characters`)

const readOrigins: Reader<readonly string[]> = (value, refuse) => {
  const origins = listOf(value)
  const wrong = origins.find((origin) => !isExactOrigin(origin))
  return wrong === undefined ? origins : refuse('exact origins such as https://example.com, without a path, a slash at the end or *, in lower case, separated by commas', wrong.includes('@') ? 'an origin with user information' : `a list whose item ${origins.indexOf(wrong) + 1} is no exact origin`)
}

const readDatabasePath: Reader<string> = (value, refuse) =>
  value.endsWith('/') || !mayWrite(resolve(value)) ? refuse('the path of a file that this process can write') : value

/** Whether a file is writable or can be created: missing folders are created later. */
function mayWrite (path: string): boolean {
  try {
    const stat = statSync(path, { throwIfNoEntry: false })
    return stat === undefined ? mayMakeIn(dirname(path)) : stat.isFile() && isWritable(path)
  } catch {
    return false // a folder of the path is not accessible
  }
}

function mayMakeIn (folder: string): boolean {
  const stat = statSync(folder, { throwIfNoEntry: false })
  return stat === undefined ? mayMakeIn(dirname(folder)) : stat.isDirectory() && isWritable(folder)
}

function isWritable (path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Numbers, and words of enumerations, are printed. Any other text can be a secret in the wrong variable. */
function described (variable: string, value: string): string {
  const isShown = /^-?\d{1,12}(?:\.\d{1,12})?$/.test(value) || (/^(?:NODE_ENV|LOG_LEVEL)$/.test(variable) && /^[a-z]{1,24}$/i.test(value))
  return isShown ? `"${value}"` : `a text of ${value.length} characters`
}

function listOf (value: string): string[] {
  return value.split(',').map((part) => part.trim())
}
