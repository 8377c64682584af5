import createError from '@fastify/error'

// Every error of the house, one line each. A code is never renamed or reused; the README's table repeats this file and a test compares them.
// Messages are one sentence, name the thing, and hold no secret, key name or address.

export const OptionError = createError<[option: string, wanted: string, came: string]>('PRISM_ERR_OPTION', 'Option %s must be %s, but is %s.', 500, TypeError)
export const ScopeError = createError<[call: string, reason: string]>('PRISM_ERR_SCOPE', '%s cannot be called here: %s.', 500)
export const RedisUnavailableError = createError<[reason: string]>('PRISM_ERR_REDIS_UNAVAILABLE', 'Redis did not answer: %s.', 503)
export const RedisClosedError = createError('PRISM_ERR_REDIS_CLOSED', 'The Redis pool is closed.', 503)
export const RedisReplyError = createError<[message: string]>('PRISM_ERR_REDIS_REPLY', 'Redis refused a command: %s.', 500)
export const AtlasError = createError<[path: string, reason: string]>('PRISM_ERR_ATLAS', 'The atlas at %s cannot be used: %s.', 500)
export const CityNotFoundError = createError<[id: number]>('PRISM_ERR_CITY_NOT_FOUND', 'There is no city %s.', 404)
export const CountryNotFoundError = createError<[code: string]>('PRISM_ERR_COUNTRY_NOT_FOUND', 'There is no country %s with a city in the atlas.', 404)
export const PlaceError = createError<[came: string]>('PRISM_ERR_PLACE', 'near must be latitude,longitude in degrees, from -90 to 90 and from -180 to 180, but is %s.', 400)
export const NameTakenError = createError<[name: string]>('PRISM_ERR_NAME_TAKEN', 'The name %s is taken.', 409)
export const CredentialsError = createError('PRISM_ERR_CREDENTIALS', 'Name or password is wrong.', 401)
export const UserUnknownError = createError('PRISM_ERR_USER_UNKNOWN', 'The user of this session is no longer known: sign in again.', 401)
export const RedisServerMissingError = createError<[what: string]>('PRISM_ERR_REDIS_SERVER_MISSING', '%s Set REDIS_URL to a Redis 7 or newer, or REDIS_SERVER_BIN to a redis-server program, or install one: on Debian or Ubuntu "apt-get install redis-server", on macOS "brew install redis", on Windows use WSL or a Redis elsewhere.', 500)
export const RedisServerStartError = createError<[reason: string]>('PRISM_ERR_REDIS_SERVER_START', 'The Redis server did not start: %s.', 500)
export const ConfigError = createError<[faults: string]>('PRISM_ERR_CONFIG', 'The environment cannot be used:%s', 500)
export const RedisSharedError = createError<[command: string]>('PRISM_ERR_REDIS_SHARED', '%s would hold or change a connection that all requests share: take one alone with redisPool.lease().', 500)
export const HostError = createError<[count: number]>('PRISM_ERR_HOST', 'A request has one Host field, but this one has %s.', 400)
export const TransferEncodingError = createError('PRISM_ERR_TRANSFER_ENCODING', 'HTTP/1.0 has no Transfer-Encoding.', 400)
export const MethodError = createError<[method: string]>('PRISM_ERR_METHOD', '%s is not answered here.', 405)
export const CookieTooLargeError = createError<[came: number, limit: number]>('PRISM_ERR_COOKIE_TOO_LARGE', 'The Cookie field has %s bytes, and at most %s are read.', 431)
