import { createError } from '@fastify/error'

// The error classes of the example service, under the same rules as those of the package: a released code is never renamed or reused, and
// the documented table of errors repeats this file. A message contains no secret, Redis key or address.

export const AtlasError = createError<[path: string, reason: string]>('PRISM_ERR_ATLAS', 'Atlas file %s is not usable: %s.', 500)
export const CityNotFoundError = createError<[id: number]>('PRISM_ERR_CITY_NOT_FOUND', 'City %s not found.', 404)
export const CountryNotFoundError = createError<[code: string]>('PRISM_ERR_COUNTRY_NOT_FOUND', 'Country %s not found in the atlas.', 404)
export const PlaceError = createError<[came: string]>('PRISM_ERR_PLACE', 'near must be latitude,longitude in degrees, from -90 to 90 and from -180 to 180, but is %s.', 400)
export const NameTakenError = createError<[name: string]>('PRISM_ERR_NAME_TAKEN', 'The name %s is taken.', 409)
export const CredentialsError = createError('PRISM_ERR_CREDENTIALS', 'Wrong name or password.', 401)
export const PasswordQueueFullError = createError<[seconds: number]>('PRISM_ERR_PASSWORD_QUEUE_FULL', 'Password verification queue is full. Retry in %s seconds.', 503)
export const AttemptsFullError = createError<[seconds: number]>('PRISM_ERR_ATTEMPTS_FULL', 'Too many sign-in attempts for this name. Retry in %s seconds.', 429)
export const SearchesFullError = createError<[seconds: number]>('PRISM_ERR_SEARCHES_FULL', 'Search queue is full. Retry in %s seconds.', 503)
export const UserUnknownError = createError('PRISM_ERR_USER_UNKNOWN', 'The user of this session no longer exists. Sign in again.', 401)
export const RedisServerMissingError = createError<[what: string]>('PRISM_ERR_REDIS_SERVER_MISSING', '%s Set REDIS_URL to a Redis 7 or newer, or REDIS_SERVER_BIN to a redis-server program, or install one: on Debian or Ubuntu "apt-get install redis-server", on macOS "brew install redis", on Windows use WSL or a Redis elsewhere.', 500)
export const RedisServerStartError = createError<[reason: string]>('PRISM_ERR_REDIS_SERVER_START', 'The Redis server did not start: %s.', 500)
export const ConfigError = createError<[faults: string]>('PRISM_ERR_CONFIG', 'Invalid environment:%s', 500)
export const HostError = createError<[came: number | string]>('PRISM_ERR_HOST', 'A request must have exactly one Host header, but this one has %s.', 400)
export const TransferEncodingError = createError('PRISM_ERR_TRANSFER_ENCODING', 'The only supported Transfer-Encoding is chunked, with HTTP/1.1.', 400)
export const ExpectationError = createError('PRISM_ERR_EXPECTATION', 'The only supported expectation is 100-continue.', 417)
export const MethodError = createError<[method: string]>('PRISM_ERR_METHOD', 'Method %s is not supported.', 405)
export const CookieTooLargeError = createError<[came: number, limit: number]>('PRISM_ERR_COOKIE_TOO_LARGE', 'The Cookie header has %s bytes; the limit is %s.', 431)
